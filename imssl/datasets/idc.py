"""IDC breast histopathology: 277,524 patches of 50x50 from 279 patients, with or without invasive carcinoma.

Cruz-Roa et al. 2014; Janowczyk and Madabhushi 2016.
"""

import hashlib
import re
from pathlib import Path

from imssl.datasets import kaggle
from imssl.datasets.files import (
    AS_PUBLISHED,
    Files,
    Reading,
    is_image,
    layout_error,
    leftovers,
    one_each,
    open_files,
)
from imssl.datasets.images import reader
from imssl.datasets.source import SPLITS, RawSample, Source
from imssl.datasets.text import read_table, unknown_value
from imssl.errors import UserError
from imssl.regular_file import read_regular

CLASSES = ("no carcinoma", "carcinoma")
COLUMNS = ("patient_id", "split")
IMAGE = re.compile(r"(?P<above>(?:.*/)?)(?P<patient>[^/]+)/(?P<label>[01])/(?P<file>[^/]+)")
LAYOUT = "<patient>/<class>/*.png (or another image format), with class 0 or 1"


def source(path: Path, split_file: Path | None, reading: Reading = AS_PUBLISHED) -> Source:
    """IDC patches; patient and class are those of the folders.

    Args:
        path: folder or zip with `LAYOUT`. Kaggle's archive holds everything a second time, one folder
            further down; that copy is not used, but a copy with other pixels is a fault.
        split_file: CSV with the columns ``patient_id`` and ``split`` (train, val, test); None if the split
            is to be drawn.
        reading: how the files are read.

    Raises:
        NotThere: the path does not exist.
        UserError: the layout is not the expected one, or the split file is malformed.
    """
    split_of, inputs = _read_split(split_file) if split_file else ({}, {})
    if not path.exists():
        raise kaggle.not_there(kaggle.IDC, path)
    files = open_files(path, reading.follow_links)
    patients_and_labels, copies = _without_copies(files)
    if not patients_and_labels:
        raise layout_error(files, LAYOUT)
    copy_names = {copy: name for name, names in copies.items() for copy in names}
    bad, unused = leftovers(files, patients_and_labels.keys() | copy_names.keys())
    unused += [(copy, f"is a copy: of {name}") for copy, name in copy_names.items()]
    images = one_each(sorted(patients_and_labels), bad)
    samples = []
    for id, name in images.items():
        patient, label = patients_and_labels[name]
        if split_of and patient not in split_of:
            bad.append((name, f"its patient is not in {split_file}: {patient}"))
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
        read=reader(files, images, reading.window, {id: copies[name] for id, name in images.items()}),
        split_origin=f"The patients listed in {split_file.name}." if split_file else "",
        bad=bad,
        unused=unused,
        inputs={**files.checksums(), **inputs},
    )


def _without_copies(files: Files) -> tuple[dict[str, tuple[str, int]], dict[str, list[str]]]:
    """Patient and class of each image by its name, and the names of its copies.

    Of files with the same patient, class and name, the one nearest the root is the image.
    """
    same: dict[tuple[str, str, str], list[str]] = {}
    for name in sorted(filter(is_image, files.names), key=lambda name: (name.count("/"), name)):
        match = IMAGE.fullmatch(name)
        if match:
            same.setdefault((match["patient"], match["label"], match["file"]), []).append(name)
    patients_and_labels = {names[0]: (patient, int(label)) for (patient, label, _), names in same.items()}
    return patients_and_labels, {first: copies for first, *copies in same.values()}


def _read_split(file: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Split by patient, and the file's checksum by its name."""
    try:
        content = read_regular(file)
    except OSError as error:
        raise UserError(
            f"The split file {file} cannot be read ({error.strerror}). Correct split_file, or leave it out "
            "to have the split drawn."
        ) from None
    split_of: dict[str, str] = {}
    rows = read_table(content, str(file), COLUMNS)
    for line, patient, split in rows[list(COLUMNS)].itertuples():
        if split not in SPLITS:
            raise UserError(f"{file}, line {line}: {unknown_value('split', split, SPLITS)}.")
        if split_of.setdefault(patient, split) != split:
            raise UserError(f"{file}, line {line}: patient {patient} is in {split_of[patient]} already.")
    if not split_of:
        raise UserError(f"{file} lists no patients.")
    return split_of, {file.name: hashlib.sha256(content).hexdigest()}
