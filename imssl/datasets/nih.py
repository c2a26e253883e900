"""NIH ChestX-ray14 (Wang et al., CVPR 2017): 112,120 frontal chest X-rays, 14 findings."""

import hashlib
from pathlib import Path, PurePosixPath

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
from imssl.datasets.source import RawSample, Source
from imssl.errors import UserError

CLASSES = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"
TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
LAYOUT = "images*/**/*.png and Data_Entry_2017.csv, with the split lists (*_list.txt) beside it"
# In order of preference: three lists, or the two that the owners publish.
SPLIT_LISTS = (
    {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"},
    {"train": "train_val_list.txt", "test": "test_list.txt"},
)


def source(path: Path) -> Source:
    """NIH ChestX-ray14 in its owners' layout, or a part of it.

    Args:
        path: folder or zip; the images may be spread over ``images_001/images`` and so on. If it does not
            exist, Kaggle's client is asked for it.

    Raises:
        UserError: the layout is not the expected one, a table is malformed, or an image is in two lists.
    """
    if not path.exists():
        kaggle.fetch(kaggle.NIH, path)
    files = open_files(path)
    table_name = find(files, *TABLES)
    names = [name for name in files.names if _is_image(name)]
    if table_name is None or not names:
        raise layout_error(files, LAYOUT)
    content = read_required(files, table_name)
    inputs = {**files.checksums(), PurePosixPath(table_name).name: hashlib.sha256(content).hexdigest()}
    bad = [(name, reason) for name, reason in files.refused if _is_image(name)]
    images = one_each(names, bad)
    split_of, split_origin = _official_split(files, inputs)
    rows = read_table(content, table_name, COLUMNS)
    samples = _samples(rows, images, split_of, bad)
    return Source(
        origin="NIH ChestX-ray14",
        task="multilabel",
        classes=CLASSES,
        description="Frontal chest X-rays with up to 14 findings each, mined from radiologists' reports.",
        citation="Wang et al. ChestX-ray8: Hospital-scale chest X-ray database and benchmarks. CVPR 2017.",
        licence="Free to use with a link to the NIH Clinical Center's page and a citation",
        url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        samples=samples,
        read=reader(files, images),
        split_origin=split_origin,
        bad=bad,
        inputs=inputs,
    )


def _is_image(name: str) -> bool:
    *folders, file = name.split("/")
    return file.endswith(".png") and any(folder.startswith("images") for folder in folders)


def _samples(
    rows: pd.DataFrame, images: dict[str, str], split_of: dict[str, str], bad: list[tuple[str, str]]
) -> list[RawSample]:
    """Rows that have a file, a split, a patient and known findings; the others go to ``bad``."""
    samples: dict[str, RawSample] = {}
    seen = set()
    for file, findings, patient in rows[list(COLUMNS)].itertuples(index=False):
        id = PurePosixPath(file).stem
        unknown = [name for name in findings.split("|") if name not in (*CLASSES, NO_FINDING)]
        if id in seen:
            bad.append((file, "duplicate id: it has a second row"))
        elif id not in images:
            bad.append((file, "it has a row, but no image file"))
        elif unknown:
            bad.append((file, f"unknown finding {unknown[0]!r}"))
        elif not patient:
            bad.append((file, "its row has no patient id"))
        elif split_of and id not in split_of:
            bad.append((file, "it is in no split list"))
        else:
            labels = tuple(int(name in findings.split("|")) for name in CLASSES)
            samples[id] = RawSample(id, patient, split_of.get(id, ""), labels)
        seen.add(id)
    bad += [(name, "the image has no row") for id, name in images.items() if id not in seen]
    bad += [(id + ".png", "it is in a split list, but has no row") for id in split_of if id not in seen]
    return list(samples.values())


def _official_split(files: Files, inputs: dict[str, str]) -> tuple[dict[str, str], str]:
    """The split of each sample by id, and where the splits come from; both empty if there are no lists.

    Args:
        files: of the data set.
        inputs: dictionary to which the checksums of the lists are added.
    """
    for lists in SPLIT_LISTS:
        paths = {split: path for split, name in lists.items() if (path := find(files, name))}
        if len(paths) == len(lists):
            return _read_lists(files, paths, inputs), f"The lists {', '.join(lists.values())}."
    names = sorted({name for lists in SPLIT_LISTS for name in lists.values()})
    present = [name for name in names if find(files, name)]
    if present:
        raise UserError(
            f"{files.path} has only {', '.join(present)}. Put either train_list.txt, val_list.txt and "
            "test_list.txt there, or train_val_list.txt and test_list.txt, or no list at all."
        )
    return {}, ""


def _read_lists(files: Files, names: dict[str, str], inputs: dict[str, str]) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for split, name in names.items():
        content = read_required(files, name)
        inputs[PurePosixPath(name).name] = hashlib.sha256(content).hexdigest()
        for line in content.decode(errors="replace").split():
            first = split_of.setdefault(PurePosixPath(line).stem, split)
            if first != split:
                raise UserError(f"{files.path}: {line} is in the split lists of both {first} and {split}.")
    return split_of
