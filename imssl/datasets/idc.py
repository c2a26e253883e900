"""IDC breast histopathology: 277,524 patches of 50x50 from 279 patients, with or without invasive carcinoma.

Cruz-Roa et al. 2014; Janowczyk and Madabhushi 2016.
"""

import hashlib
import re
from pathlib import Path

from imssl.datasets import kaggle
from imssl.datasets.files import Files, layout_error, one_each, open_files, read_table
from imssl.datasets.images import reader
from imssl.datasets.source import SPLITS, RawSample, Source
from imssl.errors import UserError

CLASSES = ("no carcinoma", "carcinoma")
COLUMNS = ("patient_id", "split")
IMAGE = re.compile(r"(?P<above>(?:.*/)?)(?P<patient>[^/]+)/(?P<label>[01])/(?P<file>[^/]+\.png)")
LAYOUT = "<patient>/<class>/*.png, with class 0 or 1"


def source(path: Path, split_file: Path | None) -> Source:
    """IDC patches; patient and class are those of the folders.

    Args:
        path: folder or zip with `LAYOUT`. Kaggle's archive holds everything a second time, one folder
            further down; that copy is ignored. If the path does not exist, Kaggle's client is asked for it.
        split_file: CSV with the columns ``patient_id`` and ``split`` (train, val, test); None if the split
            is to be drawn.

    Raises:
        UserError: the layout is not the expected one, or the split file is malformed.
    """
    split_of, inputs = _read_split(split_file) if split_file else ({}, {})
    if not path.exists():
        kaggle.fetch(kaggle.IDC, path)
    files = open_files(path)
    patients_and_labels = _without_copies(files)
    if not patients_and_labels:
        raise layout_error(files, LAYOUT)
    bad = [(name, reason) for name, reason in files.refused if IMAGE.fullmatch(name)]
    images = one_each(sorted(patients_and_labels), bad)
    samples = []
    for id, name in images.items():
        patient, label = patients_and_labels[name]
        if split_of and patient not in split_of:
            bad.append((name, f"patient {patient} is not in {split_file}"))
        else:
            samples.append(RawSample(id, patient, split_of.get(patient, ""), (label,)))
    absent = sorted(set(split_of) - {patient for patient, _ in patients_and_labels.values()})
    bad += [(f"patient {patient}", f"is in {split_file}, but has no images") for patient in absent]
    return Source(
        origin="IDC breast histopathology",
        task="binary",
        classes=CLASSES,
        description="Patches of breast tissue at 40x, with or without invasive ductal carcinoma.",
        citation="Cruz-Roa et al. Automatic detection of invasive ductal carcinoma in whole slide images "
        "with convolutional neural networks. SPIE Medical Imaging 2014; Janowczyk and Madabhushi. Deep "
        "learning for digital pathology image analysis. J Pathol Inform 2016.",
        licence="CC0 according to third-party records",
        url=kaggle.IDC.url,
        samples=samples,
        read=reader(files, images),
        split_origin=f"The patients listed in {split_file.name}." if split_file else "",
        bad=bad,
        inputs={**files.checksums(), **inputs},
    )


def _without_copies(files: Files) -> dict[str, tuple[str, int]]:
    """Patient and class of each image by its name; of several copies, only the one nearest the root."""
    nearest: dict[tuple[str, str, str], str] = {}
    for name in sorted(files.names, key=lambda name: (name.count("/"), name)):
        match = IMAGE.fullmatch(name)
        if match:
            nearest.setdefault((match["patient"], match["label"], match["file"]), name)
    return {name: (patient, int(label)) for (patient, label, _), name in nearest.items()}


def _read_split(file: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Split by patient, and the file's checksum by its name."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"The split file {file} cannot be read ({error.strerror}). Correct split_file, or leave it out "
            "to have the split drawn."
        ) from None
    split_of: dict[str, str] = {}
    rows = read_table(content, str(file), COLUMNS)
    for line, (patient, split) in enumerate(rows[list(COLUMNS)].itertuples(index=False), start=2):
        if split not in SPLITS:
            raise UserError(f"{file}, line {line}: split {split!r} is not one of {', '.join(SPLITS)}.")
        if split_of.setdefault(patient, split) != split:
            raise UserError(f"{file}, line {line}: patient {patient} is in {split_of[patient]} already.")
    if not split_of:
        raise UserError(f"{file} lists no patients.")
    return split_of, {file.name: hashlib.sha256(content).hexdigest()}
