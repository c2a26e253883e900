"""NIH ChestX-ray14 (Wang et al., CVPR 2017): 112,120 frontal chest X-rays, 14 findings."""

import hashlib
import re
from pathlib import Path, PurePosixPath

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
from imssl.datasets.text import read_names, read_table, unknown_value
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
# Columns that not every copy of the table has, and what they are called in samples.csv.
ATTRIBUTES = {"Patient Age": "age", "Patient Gender": "sex", "Patient Sex": "sex", "View Position": "view"}
AGE = re.compile(r"(\d+)([YMWD]?)")
YEARS = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}
LAYOUT = (
    "images*/**/*.png (or another image format) and Data_Entry_2017.csv, with the split lists (*_list.txt) "
    "beside it"
)
# In order of preference: three lists, or the two that the owners publish.
SPLIT_LISTS = (
    {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"},
    {"train": "train_val_list.txt", "test": "test_list.txt"},
)


def source(path: Path, reading: Reading = AS_PUBLISHED) -> Source:
    """NIH ChestX-ray14 in its owners' layout, or a part of it.

    Args:
        path: folder or zip; the images may be spread over ``images_001/images`` and so on.
        reading: how the files are read.

    Raises:
        NotThere: the path does not exist.
        UserError: the layout is not the expected one, a table is malformed, or an image is in two lists.
    """
    if not path.exists():
        raise kaggle.not_there(kaggle.NIH, path)
    files = open_files(path, reading.follow_links)
    table_name = find(files, *TABLES)
    names = [name for name in files.names if _is_image(name)]
    if table_name is None or not names:
        raise layout_error(files, LAYOUT)
    content = read_required(files, table_name)
    inputs = {**files.checksums(), PurePosixPath(table_name).name: hashlib.sha256(content).hexdigest()}
    split_of, split_origin, lists = _official_split(files, inputs)
    bad, unused = leftovers(files, {table_name, *names, *lists})
    images = one_each(names, bad)
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
        read=reader(files, images, reading.window),
        split_origin=split_origin,
        bad=bad,
        unused=unused,
        inputs=inputs,
        attributes=[name for column, name in ATTRIBUTES.items() if column in rows.columns],
    )


def _is_image(name: str) -> bool:
    folders = name.split("/")[:-1]
    return is_image(name) and any(folder.startswith("images") for folder in folders)


def _samples(
    rows: pd.DataFrame, images: dict[str, str], split_of: dict[str, str], bad: list[tuple[str, str]]
) -> list[RawSample]:
    """Rows that have a file, a split, a patient and known findings; the others go to ``bad``."""
    samples: dict[str, RawSample] = {}
    seen = set()
    attributes = _attributes(rows)
    for (file, cell, patient), others in zip(
        rows[list(COLUMNS)].itertuples(index=False), attributes, strict=True
    ):
        id = PurePosixPath(file).stem
        findings = [name.strip() for name in cell.split("|")]
        unknown = [name for name in findings if name not in (*CLASSES, NO_FINDING)]
        if id in seen:
            bad.append((file, "duplicate id: it has a second row"))
        elif id not in images:
            bad.append((file, "it has a row, but no image file"))
        elif unknown:
            bad.append((file, unknown_value("finding", unknown[0], (*CLASSES, NO_FINDING))))
        elif not patient:
            bad.append((file, "its row has no patient id"))
        elif split_of and id not in split_of:
            bad.append((file, "it is in no split list"))
        else:
            labels = tuple(int(name in findings) for name in CLASSES)
            samples[id] = RawSample(id, patient, split_of.get(id, ""), labels, others)
        seen.add(id)
    bad += [(name, "the image has no row") for id, name in images.items() if id not in seen]
    bad += [(id + ".png", "it is in a split list, but has no row") for id in split_of if id not in seen]
    return list(samples.values())


def _attributes(rows: pd.DataFrame) -> list[dict[str, str]]:
    """Age in whole years, sex (M, F) and view (PA, AP) of each row, where the table has them."""
    columns = {name: rows[column] for column, name in ATTRIBUTES.items() if column in rows.columns}
    if "age" in columns:
        columns["age"] = columns["age"].map(_years)
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)] or [
        {} for _ in range(len(rows))
    ]


def _years(age: str) -> str:
    """Age in whole years: ``58`` of ``058Y`` or ``58``, ``0`` of ``011M``; any other text as it is."""
    match = AGE.fullmatch(age)
    return str(int(match[1]) // YEARS[match[2]]) if match else age


def _official_split(files: Files, inputs: dict[str, str]) -> tuple[dict[str, str], str, list[str]]:
    """The split of each sample by id, where the splits come from, and the lists; all empty without lists.

    Args:
        files: of the data set.
        inputs: dictionary to which the checksums of the lists are added.
    """
    for lists in SPLIT_LISTS:
        paths = {split: path for split, name in lists.items() if (path := find(files, name))}
        if len(paths) == len(lists):
            split_of, only_first = _read_lists(files, paths, inputs)
            note = f", of which only the first word of each line is read ({only_first} has more)"
            origin = f"The lists {', '.join(lists.values())}{note if only_first else ''}."
            return split_of, origin, list(paths.values())
    names = sorted({name for lists in SPLIT_LISTS for name in lists.values()})
    present = [name for name in names if find(files, name)]
    if present:
        raise UserError(
            f"{files.path} has only {', '.join(present)}. Put either train_list.txt, val_list.txt and "
            "test_list.txt there, or train_val_list.txt and test_list.txt, or no list at all."
        )
    return {}, "", []


def _read_lists(files: Files, names: dict[str, str], inputs: dict[str, str]) -> tuple[dict[str, str], str]:
    """The split of each sample by id, and the first list that has more on its lines than names."""
    split_of: dict[str, str] = {}
    only_first = ""
    for split, name in names.items():
        content = read_required(files, name)
        inputs[PurePosixPath(name).name] = hashlib.sha256(content).hexdigest()
        listed = read_names(content, f"{files.path}: {name}")
        if listed.has_more:
            only_first = only_first or PurePosixPath(name).name
        for image in listed.names:
            first = split_of.setdefault(PurePosixPath(image).stem, split)
            if first != split:
                raise UserError(f"{files.path}: {image} is in the split lists of both {first} and {split}.")
    return split_of, only_first
