"""Data sets on disk in a layout of Hugging Face, read by their library ``datasets`` without any network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from imssl.datasets.files import Folder, Reading, leftovers, located
from imssl.datasets.huggingface_files import TABLES, EncodedImages, load
from imssl.datasets.label_values import SPLIT_NAMES
from imssl.datasets.source import BadImage, Source
from imssl.datasets.table import RowReader
from imssl.datasets.table_file import cell_text
from imssl.datasets.text import check_columns
from imssl.datasets.user_images import image_reader, user_source
from imssl.errors import UserError
from imssl.settings.user_datasets import HuggingFaceSettings

if TYPE_CHECKING:
    from datasets import Dataset


def source(settings: HuggingFaceSettings, reading: Reading) -> Source:
    """The images of a data set in the layout of Hugging Face.

    The id of an image is its file's name, or its split and row where the images are stored in the table. An
    image without a row cannot be used.

    Raises:
        UserError: the library is missing or cannot read the folder, or a column is missing.
    """
    path = located(settings.path)
    parts = load(path, settings.image_column)
    for table in parts.values():
        _check_columns(table, settings, path)
    images = EncodedImages(parts, settings.image_column, path)
    files = Folder(path, reading.follow_links)
    bad, unused = _left_out(files, images)
    refused = {name for name, _ in files.refused}
    samples = []
    reader = RowReader(settings)
    for part, table in parts.items():
        for name, cells in zip(images.names_in[part], _rows(table, settings), strict=True):
            if name in refused:
                continue  # it is in `bad` already
            try:
                sample = reader.sample(name, cells, None)
            except BadImage as reason:
                bad.append((reason.name, reason.reason))
                continue
            if not settings.split_column and settings.splits == "official" and len(parts) > 1:
                sample = replace(sample, split=SPLIT_NAMES.get(part.lower(), ""))
            samples.append(sample)

    return user_source(
        settings,
        samples,
        image_reader(images.read, settings.window),
        split_origin="The splits of the data set.",
        bad=bad,
        unused=unused,
        inputs={},
    )


def _left_out(files: Folder, images: EncodedImages) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What the library has not used of the folder: (name, reason) of what is a fault, and of what is none."""
    tables = [name for name in files.names if name.lower().endswith(TABLES)]
    bad, unused = leftovers(files, {*images.names, *tables})
    refused = {name for name, _ in files.refused}
    no_row = {name for name, _ in bad} - refused
    return [(name, "has no row" if name in no_row else reason) for name, reason in bad], unused


@dataclass(frozen=True)
class Layout:
    """What a data set on disk says of itself.

    Attributes:
        image_column: feature that holds the images.
        images: the images themselves, encoded.
        rows: the other cells as text; lists are joined by ``|``.
        class_names: of each feature with named classes, in their order.
        has_lists: whether a feature holds several labels.
    """

    image_column: str
    images: EncodedImages
    rows: pd.DataFrame
    class_names: dict[str, list[str]]
    has_lists: bool


def described(path: Path, image_column: str | None) -> Layout:
    """What the features of a data set on disk are called, and what the rows say besides the images.

    Raises:
        UserError: the library is missing, cannot read the folder, or which feature holds the images is not
            clear.
    """
    parts = load(path, image_column)
    import datasets  # load says how to install it

    first = next(iter(parts.values()))
    images = [name for name, feature in first.features.items() if isinstance(feature, datasets.Image)]
    if image_column is None and len(images) != 1:
        listed = ", ".join(first.column_names)
        raise UserError(f"{path}: which column holds the images is not clear ({listed}); use --image-column.")
    column = image_column or images[0]
    others = {name: feature for name, feature in first.features.items() if name != column}
    cells = [_text_row(row, others) for table in parts.values() for row in table.select_columns(list(others))]
    return Layout(
        image_column=column,
        images=EncodedImages(parts, column, path),
        rows=pd.DataFrame(cells, columns=list(others), dtype=str),
        class_names={
            name: list(feature.names)
            for name, feature in others.items()
            if isinstance(feature, datasets.ClassLabel)
        },
        has_lists=any(hasattr(feature, "feature") for feature in others.values()),
    )


def _text_row(row: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, str]:
    return {name: _cell(row[name], feature, "|") for name, feature in features.items()}


def _check_columns(table: "Dataset", settings: HuggingFaceSettings, path: Path) -> None:
    optional = (settings.patient_column, settings.split_column)
    needed = [settings.image_column, *settings.label_columns, *(column for column in optional if column)]
    check_columns(table.column_names, str(path), needed)


def _rows(table: "Dataset", settings: HuggingFaceSettings) -> Iterator[Mapping[str, str]]:
    """The cells of each row as text, without the images."""
    others = table.select_columns([name for name in table.column_names if name != settings.image_column])
    for row in others:
        yield {
            name: _cell(row[name], others.features[name], settings.separator) for name in others.column_names
        }


def _cell(value: Any, feature: Any, separator: str | None) -> str:
    """A cell as text: classes by their names, several labels joined by the separator."""
    from datasets import ClassLabel

    if isinstance(value, list):
        inner = getattr(feature, "feature", None)
        return (separator or ", ").join(_cell(item, inner, None) for item in value)
    if isinstance(feature, ClassLabel) and isinstance(value, int):
        return feature.int2str(value) if value >= 0 else ""  # -1 stands for no label
    return cell_text(value).strip()
