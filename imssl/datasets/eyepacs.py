"""EyePACS: Kaggle's diabetic retinopathy detection (2015), 35,126 labelled fundus photographs."""

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd

from imssl.datasets import kaggle
from imssl.datasets.files import (
    AS_PUBLISHED,
    Files,
    Reading,
    find,
    is_image,
    layout_error,
    leftovers,
    one_each,
    open_files,
    read_required,
)
from imssl.datasets.images import reader
from imssl.datasets.source import RawSample, Source
from imssl.datasets.text import read_table, unknown_value
from imssl.task import Task

Grading = Literal["binary", "five"]

TABLE = "trainLabels.csv"
COLUMNS = ("image", "level")
ARCHIVE = "train.zip"
IMAGE = re.compile(r"(?P<patient>[^/]+)_(left|right)\.[^./]+", re.IGNORECASE)
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


def source(path: Path, grading: Grading, reading: Reading = AS_PUBLISHED) -> Source:
    """The labelled part of EyePACS; both eyes belong to one patient.

    Args:
        path: folder or zip with `LAYOUT`. Images in a folder ``test`` are not used, as `TABLE` does not
            grade them.
        grading: ``binary`` for referable retinopathy, ``five`` for the grades themselves.
        reading: how the files are read.

    Raises:
        NotThere: the path does not exist.
        UserError: the layout is not the expected one, or the table is malformed.
    """
    if not path.exists():
        raise kaggle.not_there(kaggle.EYEPACS, path)
    files = open_files(path, reading.follow_links)
    table_name = find(files, TABLE)
    pictures = _with_images(files)
    if table_name is None or pictures is None:
        raise layout_error(files, LAYOUT)
    content = read_required(files, table_name)
    bad, unused = _leftovers(files, pictures, table_name)
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
        read=reader(pictures, images, reading.window),
        bad=bad,
        unused=unused,
        attributes=("eye",),
        inputs={**files.checksums(), **pictures.checksums(), TABLE: hashlib.sha256(content).hexdigest()},
    )


def _with_images(files: Files) -> Files | None:
    """The files themselves if there are images among them, otherwise those in `ARCHIVE`, if there is one."""
    if any(_is_image(name) for name in files.names):
        return files
    archive = files.path / ARCHIVE
    return open_files(archive) if ARCHIVE in files.names and archive.is_file() else None


def _is_image(name: str) -> bool:
    return is_image(name) and IMAGE.fullmatch(PurePosixPath(name).name) is not None and not _is_test(name)


def _is_test(name: str) -> bool:
    return "test" in name.split("/")[:-1]


def _leftovers(
    files: Files, pictures: Files, table_name: str
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(name, reason) of what cannot be used, and of what is no part of the data set."""
    test = [name for name in pictures.names if _is_test(name)]
    bad, unused = leftovers(pictures, {table_name, *filter(_is_image, pictures.names), *test})
    if pictures is not files:
        beside = leftovers(files, {table_name, ARCHIVE})
        bad, unused = bad + beside[0], unused + beside[1]
    return bad, unused + [(name, f"lies in a folder test, which {TABLE} does not grade") for name in test]


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
            bad.append((id, unknown_value("grade", level, GRADES)))
        else:
            label = int(int(level) >= REFERABLE) if grading == "binary" else int(level)
            samples[id] = RawSample(id, patient, "", (label,), {"eye": eye})
        seen.add(id)
    bad += [(name, "the image has no row") for id, name in images.items() if id not in seen]
    return list(samples.values())
