"""EyePACS: Kaggle's diabetic retinopathy detection (2015), 35,126 labelled fundus photographs."""

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd

from imssl.datasets import kaggle
from imssl.datasets.files import (
    Files,
    find,
    layout_error,
    one_each,
    open_files,
    read_required,
    read_table,
)
from imssl.datasets.images import reader
from imssl.datasets.source import RawSample, Source, Task

Grading = Literal["binary", "five"]

TABLE = "trainLabels.csv"
COLUMNS = ("image", "level")
ARCHIVE = "train.zip"
IMAGE = re.compile(r"(?P<patient>[^/]+)_(left|right)\.(jpe?g|png)", re.IGNORECASE)
LAYOUT = (
    f"{TABLE}, and <id>_left.jpeg, <id>_right.jpeg below it or in {ARCHIVE}.\n"
    f"Kaggle's parts must be joined first (cat train.zip.0* > {ARCHIVE}) and {TABLE}.zip unpacked."
)
GRADES = ("0", "1", "2", "3", "4")
# Referable retinopathy begins at moderate (grade 2).
REFERABLE = 2
CLASSES: dict[Grading, tuple[str, ...]] = {
    "binary": ("not referable", "referable"),
    "five": ("no retinopathy", "mild", "moderate", "severe", "proliferative"),
}
TASKS: dict[Grading, Task] = {"binary": "binary", "five": "ordinal"}


def source(path: Path, grading: Grading) -> Source:
    """The labelled part of EyePACS; both eyes belong to one patient.

    Args:
        path: folder or zip with `LAYOUT`. If it does not exist, Kaggle's client is asked for it. Images in
            a folder ``test`` are ignored, as `TABLE` does not grade them.
        grading: ``binary`` for referable retinopathy, ``five`` for the grades themselves.

    Raises:
        UserError: the layout is not the expected one, or the table is malformed.
    """
    if not path.exists():
        kaggle.fetch(kaggle.EYEPACS, path)
    files = open_files(path)
    table_name = find(files, TABLE)
    pictures = _with_images(files)
    if table_name is None or pictures is None:
        raise layout_error(files, LAYOUT)
    content = read_required(files, table_name)
    bad = [(name, reason) for name, reason in pictures.refused if _is_image(name)]
    images = one_each([name for name in pictures.names if _is_image(name)], bad)
    return Source(
        origin="EyePACS (Kaggle Diabetic Retinopathy Detection)",
        task=TASKS[grading],
        classes=CLASSES[grading],
        description="Fundus photographs graded from 0 (no retinopathy) to 4 (proliferative retinopathy).",
        citation="Cuadros and Bresnick. EyePACS: an adaptable telemedicine system for diabetic retinopathy "
        "screening. J Diabetes Sci Technol 2009; Kaggle Diabetic Retinopathy Detection, 2015.",
        licence="Kaggle's competition rules",
        url=kaggle.EYEPACS.url,
        samples=_samples(read_table(content, table_name, COLUMNS), images, grading, bad),
        read=reader(pictures, images),
        bad=bad,
        inputs={**files.checksums(), **pictures.checksums(), TABLE: hashlib.sha256(content).hexdigest()},
    )


def _with_images(files: Files) -> Files | None:
    """The files themselves if there are images among them, otherwise those in `ARCHIVE`, if there is one."""
    if any(_is_image(name) for name in files.names):
        return files
    archive = files.path / ARCHIVE
    return open_files(archive) if archive.is_file() else None


def _is_image(name: str) -> bool:
    return IMAGE.fullmatch(PurePosixPath(name).name) is not None and "test" not in name.split("/")[:-1]


def _samples(
    rows: pd.DataFrame, images: dict[str, str], grading: Grading, bad: list[tuple[str, str]]
) -> list[RawSample]:
    """Rows that have a file and a grade; the others go to ``bad``."""
    samples: dict[str, RawSample] = {}
    seen = set()
    for id, level in rows[list(COLUMNS)].itertuples(index=False):
        patient, _, eye = id.rpartition("_")
        if id in seen:
            bad.append((id, "duplicate id: it has a second row"))
        elif not patient or eye not in ("left", "right"):
            bad.append((id, "it does not end with _left or _right"))
        elif id not in images:
            bad.append((id, "it has a row, but no image file"))
        elif level not in GRADES:
            bad.append((id, f"grade {level!r} is not one of {', '.join(GRADES)}"))
        else:
            label = int(int(level) >= REFERABLE) if grading == "binary" else int(level)
            samples[id] = RawSample(id, patient, "", (label,))
        seen.add(id)
    bad += [(name, "the image has no row") for id, name in images.items() if id not in seen]
    return list(samples.values())
