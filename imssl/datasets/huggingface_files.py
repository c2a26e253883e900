"""Data sets on disk in a layout of Hugging Face: recognised, opened, and their images by name."""

import contextlib
import json
import os
import re
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imssl.datasets.archive import MOST_BYTES
from imssl.datasets.files import is_image
from imssl.datasets.label_values import SPLIT_NAMES
from imssl.datasets.source import BadImage
from imssl.datasets.table_file import csv_separator, read_rows
from imssl.datasets.text import decode_text
from imssl.durable import raise_if_full
from imssl.errors import UserError, first_line
from imssl.regular_file import read_regular

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")
METADATA = (".csv", ".jsonl", ".parquet")
# What holds rows instead of an image.
TABLES = (*METADATA, ".arrow", ".json")
# What the library calls "all" is every split together, so images without a split need another name.
UNSPLIT = "images"
EXTRA = "Reading this layout needs the package datasets: pip install 'imssl-bench[huggingface]'"


def is_layout(path: Path) -> bool:
    """Whether a folder is a data set of Hugging Face: saved, in Parquet with images, or with ``metadata``."""
    if not path.is_dir():
        return False
    if any((path / name).is_file() for name in SAVED):
        return True
    files = [file for file in path.rglob("*") if file.is_file()]
    metadata = {f"metadata{suffix}" for suffix in METADATA}
    if any(_names_files(file) for file in files if file.name in metadata):
        return True
    return any(file.suffix == ".parquet" for file in files) and not any(is_image(file.name) for file in files)


def _names_files(metadata: Path) -> bool:
    """Whether a file called ``metadata`` is Hugging Face's, which has a column for the file of each image."""
    try:
        if metadata.suffix == ".jsonl":
            columns = jsonl_columns(read_regular(metadata), metadata.name)
        else:
            columns = list(map(str, read_rows(read_regular(metadata), metadata.name).columns))
    except (OSError, UserError):
        return False  # what is wrong with it, add-dataset says of all tables beside the images
    return any(re.fullmatch(r"(.+_)?file_names?", column) for column in columns)


def jsonl_columns(content: bytes, title: str) -> list[str]:
    """The keys of the first line of a JSONL file.

    Raises:
        UserError: it is not text, or its first line is not a JSON object.
    """
    try:
        first = json.loads(decode_text(content, title).partition("\n")[0])
    except ValueError as error:
        raise UserError(f"{title}, line 1: not JSON ({error}). Mend this line.") from None
    if not isinstance(first, dict):
        raise UserError(f'{title}, line 1: not a JSON object, such as {{"file_name": "0.png"}}.')
    return list(first)


def load(path: Path, image_column: str | None = None) -> "DatasetDict":
    """Open a data set on disk; its images stay encoded.

    Whatever the library converts goes into a temporary folder that is deleted with the data set.

    Args:
        path: of its folder.
        image_column: that holds images, if it is known.

    Raises:
        UserError: the library is missing or cannot read the folder, or a row of ``metadata.csv`` has too many
            or too few cells.
    """
    # Read when the library is imported; nothing here may wait for a network.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import datasets
    except ImportError:
        raise UserError(EXTRA) from None
    is_saved = any((path / name).is_file() for name in SAVED)
    kind, files = ("saved", None) if is_saved else _kind(path)
    if kind == "imagefolder":
        _check_metadata(path)
    datasets.disable_progress_bars()
    cache = tempfile.TemporaryDirectory(prefix="imssl-")
    try:
        if is_saved:
            loaded = datasets.load_from_disk(str(path))
        else:
            loaded = datasets.load_dataset(
                kind, data_files=files, data_dir=None if files else str(path), cache_dir=cache.name
            )
    except Exception as error:  # the library raises errors of many kinds, of its own and of pyarrow
        cache.cleanup()
        raise_if_full(error, Path(cache.name).parent)
        raise UserError(f"{path} cannot be read as a data set of Hugging Face: {first_line(error)}") from None
    parts = loaded if isinstance(loaded, datasets.DatasetDict) else datasets.DatasetDict({UNSPLIT: loaded})
    for part, table in parts.items():
        for column, feature in table.features.items():
            if isinstance(feature, datasets.Image) or column == image_column or _holds_bytes(feature):
                parts[part] = parts[part].cast_column(column, datasets.Image(decode=False))
    weakref.finalize(parts, cache.cleanup)
    return parts


def _check_metadata(path: Path) -> None:
    """Read every ``metadata.csv`` as other tables are: the library takes a short row for empty cells."""
    for file in sorted(path.rglob("metadata.csv")):
        title = file.relative_to(path).as_posix()
        try:
            content = read_regular(file)
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror or error}).") from None
        text = decode_text(content, title)
        read_rows(content, title)
        if csv_separator(content, title) != "," or text.encode() not in content:
            raise UserError(
                f"{file}: the library datasets reads UTF-8 with commas between the cells, and this file is "
                "another kind of CSV. Save it so; or, if it describes all images, have it read as a table "
                f"(source: table): bench add-dataset {file}"
            )


def _kind(path: Path) -> tuple[str, dict[str, list[str]] | None]:
    """Name of the library's loader for a folder, and for Parquet the files of each split."""
    tables = sorted(path.rglob("*.parquet")) if path.is_dir() else []
    images = [file for file in tables if file.stem != "metadata"]
    if not images:
        return "imagefolder", None
    files: dict[str, list[str]] = {}
    for file in images:
        # train-00000-of-00002.parquet, or train/0000.parquet
        word = file.stem.split("-")[0].lower()
        split = SPLIT_NAMES.get(word) or SPLIT_NAMES.get(file.parent.name.lower()) or UNSPLIT
        files.setdefault(split, []).append(str(file))
    return "parquet", files


def _holds_bytes(feature: Any) -> bool:
    """Whether a feature is how Parquet stores images where no library has noted that they are images."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


class EncodedImages:
    """The images of a data set on disk, before they are decoded.

    Args:
        parts: the data set.
        column: that holds the images.
        path: of its folder.

    Attributes:
        names: of all images: the file's name, or split and row where the images are stored in the table.
        names_in: the same for each split, in the order of its rows.
    """

    def __init__(self, parts: "DatasetDict", column: str, path: Path) -> None:
        self._parts, self._column = parts, column
        self.names_in = {
            part: [
                _name_of(file, path, f"{part} row {row}") for row, file in enumerate(_paths(table, column))
            ]
            for part, table in parts.items()
        }
        self._places = {
            name: (part, row) for part, names in self.names_in.items() for row, name in enumerate(names)
        }
        self.names = list(self._places)

    def read(self, name: str) -> bytes:
        """Content of an image. Raises BadImage if there is none, or it cannot be read."""
        part, row = self._places[name]
        return _content(self._parts[part][row][self._column], name)


def _paths(table: "Dataset", column: str) -> list[str | None]:
    """The path that each image is stored with, if any, without a look at its bytes."""
    from pyarrow.compute import struct_field

    images = table.select_columns([column]).with_format("arrow")[:].column(column)
    return struct_field(images, "path").to_pylist()


def _name_of(file: str | None, path: Path, fallback: str) -> str:
    if not file:
        return fallback
    with contextlib.suppress(ValueError):
        return Path(file).relative_to(path).as_posix()
    # In a table, the path is the name the file once had, which need not be unique.
    return f"{fallback}: {Path(file).name}"


def _content(image: Mapping[str, Any] | None, name: str) -> bytes:
    if image and image.get("bytes"):
        return bytes(image["bytes"])
    if image and image.get("path"):
        try:
            return read_regular(Path(image["path"]), MOST_BYTES)
        except OSError as error:
            raise BadImage(name, f"cannot be read ({error.strerror})") from None
    raise BadImage(name, "the row has no image")
