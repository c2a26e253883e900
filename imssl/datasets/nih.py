"""NIH ChestX-ray14 (Wang et al., CVPR 2017): 112,120 frontal chest X-rays, 14 findings."""

from collections import Counter
from pathlib import Path, PurePosixPath

from imssl.datasets import kaggle
from imssl.datasets.files import Files, checksum_of, find, layout_error, open_files, read_required, read_table
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
# By preference: three lists, or the two that the owners publish.
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
        UserError: the layout is another, a table is not what it should be, or an image is in two lists.
    """
    if not path.exists():
        kaggle.fetch(kaggle.NIH, path)
    files = open_files(path)
    table_name = find(files, *TABLES)
    names = [name for name in files.names if name.endswith(".png")]
    if table_name is None or not names:
        raise layout_error(files, LAYOUT)
    bad = [(name, reason) for name, reason in files.refused if name.endswith(".png")]
    by_id = _by_id(names, bad)
    table, inputs = ..., ...
