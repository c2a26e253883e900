"""Enters a user's images into params.yaml: looked at, read as a run will read them, then written."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bench.datasets.adding.looking import images_below
from bench.datasets.adding.proposal import Proposal, Seen, proposal_of, seen_of
from bench.datasets.adding.published import is_medmnist, looked_through, published_row
from bench.datasets.adding.recognised import hint_of
from bench.datasets.adding.suggestion import Options, column_settings, folder_settings, image_settings
from bench.datasets.adding.tables import LabelTable, Tables, tables_beside
from bench.methods.params_rows import DATASETS, as_written, params, with_row, without_row, write_params
from bench.protocol.nearest_name import refuse_unknown
from bench.protocol.params_file import ID_PATTERN, problems
from bench.protocol.protocol import Protocol, read_protocol
from imssl.datasets import huggingface
from imssl.datasets.checks import check_samples
from imssl.datasets.files import located
from imssl.datasets.huggingface_files import is_layout
from imssl.datasets.sources import open_source
from imssl.datasets.table_file import is_table
from imssl.datasets.user_images import UserImages
from imssl.errors import UserError
from imssl.settings.sources import AnyDataset


@dataclass(frozen=True)
class DatasetRequest:
    """What the command line says besides what is in the files.

    Attributes:
        path: of a folder, a zip, a table beside the images, or a file of MedMNIST.
        source: of a published data set, whose layout the files have; None for images of the user's own.
        name: id of the data set; None for one made of the folder's name.
        table: file with a row for each image.
        sheet: of an Excel file.
        options: on labels, patients and splits.
        images: keys of every data set that were given, such as size.
        follow_links: folders in which links may end.
    """

    path: str
    source: str | None
    name: str | None
    table: str | None
    sheet: str | None
    options: Options
    images: dict[str, Any]
    follow_links: tuple[str, ...]


OnSeen = Callable[[Seen], None] | None


def propose(request: DatasetRequest, on_seen: OnSeen = None) -> Proposal:
    """Look at images and say what the row of their data set should be.

    Args:
        request: what to look at.
        on_seen: called with what was seen as soon as the images are looked at, and so before anything about
            labels, patients or splits can turn out to be unclear.

    Raises:
        UserError: something is not clear or does not fit; the message says which option would settle it.
    """
    given = located(request.path)
    if not given.exists():
        raise UserError(f"{given} does not exist. Give the folder, zip or table that holds the images.")
    name = request.name or _name_of(given)
    _check_name(name, read_protocol())
    if request.source or is_medmnist(given):
        return _propose_published(request, given, name, on_seen)
    return _propose_own(request, given, name, on_seen)


def _propose_published(request: DatasetRequest, given: Path, name: str, on_seen: OnSeen) -> Proposal:
    said = vars(request.options) | {
        "table": request.table,
        "sheet": request.sheet,
        "window": request.images.get("window"),
        "follow_links": request.follow_links,
    }
    row = published_row(request.source or "medmnist", given, said)
    # What the images look like is known once they are read, for which no size is needed.
    unseen = {"size": 8, "channels": 1} | _completed(row, request)
    source, seen = looked_through(open_source(_settings(unseen)), on_seen)
    row = _completed(row | image_settings(seen.look, None, None) | row, request)
    check_samples(source.samples, source, name)
    return proposal_of(name, row, source, seen)


def _propose_own(request: DatasetRequest, given: Path, name: str, on_seen: OnSeen) -> Proposal:
    is_beside = given.is_file() and is_table(given.name)
    path = given.parent if is_beside else given
    table = given.name if is_beside else request.table
    warnings: list[str] = []
    if table is None and is_layout(path):
        layout = huggingface.described(path, request.options.image_column)
        seen = seen_of(layout.images.names, layout.images.read, on_seen)
        row = _huggingface_row(layout, path, request)
    else:
        images = images_below(path, [located(folder) for folder in request.follow_links])
        seen = seen_of(images.names, images.files.read, on_seen)
        tables = tables_beside(images, table, request.sheet)
        hint = hint_of(images.files.names)
        try:
            row = _row(images, tables, request)
        except UserError as error:
            raise UserError(f"{error}\n{hint}".rstrip()) from None
        warnings = [*tables.warnings, *filter(None, [hint])]
    looks = image_settings(seen.look, request.images.get("size"), request.images.get("channels"))
    row = _completed({"path": as_written(path), **row} | looks, request)
    source = open_source(_settings(row))
    check_samples(source.samples, source, name)
    return proposal_of(name, row, source, seen, warnings)


def _completed(row: dict[str, Any], request: DatasetRequest) -> dict[str, Any]:
    """A row with the keys that every data set has: what the user has given, or else what is usual."""
    usual = {"horizontal_flip": True, "vertical_flip": False, "split_seed": 0, "on_bad_image": "error"}
    given = {key: value for key, value in request.images.items() if value is not None}
    unsaid = {key: value for key, value in usual.items() if key not in row}
    row = {"source": row["source"]} | row | unsaid | given
    if request.follow_links:
        row["follow_links"] = [as_written(located(folder)) for folder in request.follow_links]
    return row


def _name_of(path: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:40].strip("-")
    return name if name[:1].isalpha() else f"data-{name}".strip("-")[:40].strip("-")


def _check_name(name: str, protocol: Protocol) -> None:
    if not re.fullmatch(ID_PATTERN, name) or len(name) > 40:
        raise UserError(
            f"the name {name!r}: use at most 40 lower-case letters, digits and single hyphens, a letter "
            "first; give one with --name."
        )
    if name in protocol.datasets:
        raise UserError(
            f"{name} is already a data set of params.yaml. Give this one another name (--name {name}-2), or "
            f"remove that one first: bench remove-dataset {name}"
        )


def _row(images: UserImages, tables: Tables, request: DatasetRequest) -> dict[str, Any]:
    options = request.options
    if not tables.fitting:
        return _row_without_table(images, tables, options)
    if len(tables.fitting) > 1:
        listed = ", ".join(table.name for table in tables.fitting)
        raise UserError(
            f"{images.files.path}: several tables name the images: {listed}. Choose with --table FILE"
        )
    table = tables.fitting[0]
    path_column = options.path_column or table.path_column
    if path_column not in table.rows.columns:
        raise UserError(
            f"{table.name}: which column names the images is not clear. Name it with --path-column; it has "
            f"{', '.join(map(str, table.rows.columns))}{table.sheets}."
        )
    sheet = {"sheet": request.sheet} if request.sheet else {}
    written = table.name if table.name in images.files.names else as_written(located(table.name))
    return {"source": "table", "table": written, **sheet, "path_column": path_column} | column_settings(
        table, options, request.path
    )


def _row_without_table(images: UserImages, tables: Tables, options: Options) -> dict[str, Any]:
    """The row of a folder a class; where there is none, what is wrong with the tables is the answer."""
    try:
        if options.label_columns or options.path_column:
            raise UserError(
                f"{images.files.path}: no table in it names the images. Give the table with --table FILE."
            )
        return folder_settings(images, options)
    except UserError as unclear:
        if tables.broken:
            raise UserError(
                "\n".join(tables.broken)
                + f"\nNo other table in {images.files.path} names the images, and its "
                "folders are no classes. If another table has the labels, give it with --table FILE."
            ) from None
        others = "".join(f"\nIt does not name the images: {other}." for other in tables.others)
        raise UserError(f"{unclear}{others}") from None


def _huggingface_row(layout: huggingface.Layout, path: Path, request: DatasetRequest) -> dict[str, Any]:
    table = LabelTable(str(path), layout.rows, "")
    options = request.options
    row: dict[str, Any] = {"source": "huggingface"}
    if layout.image_column != "image":
        row["image_column"] = layout.image_column
    keys = column_settings(
        table, options, request.path, is_sequence=bool(options.label_columns) and layout.has_lists
    )
    if layout.class_names and not options.classes and len(keys["label_columns"]) == 1:
        keys["classes"] = layout.class_names.get(keys["label_columns"][0], keys["classes"])
    return row | keys


def _settings(row: dict[str, Any]) -> Any:
    try:
        return TypeAdapter(AnyDataset).validate_python(row, strict=False)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, keys))} {what}".strip() for keys, what in problems(error, row)]
        raise UserError(f"the data set cannot be entered so: {'; '.join(lines)}") from None


def enter(proposal: Proposal) -> None:
    """Write the row of a proposal into params.yaml, whole or not at all; comments stay.

    Raises:
        UserError: the name has been taken in the meantime, or params.yaml would not be valid.
    """
    text, protocol = params()
    _check_name(proposal.name, protocol)
    write_params(with_row(text, proposal.name, proposal.row, DATASETS))


def remove(name: str) -> None:
    """Remove a data set from params.yaml; what was prepared and computed of it stays.

    Raises:
        UserError: there is no such data set, or it is the only one.
    """
    text, protocol = params()
    refuse_unknown("data set", name, protocol.datasets)
    if len(protocol.datasets) == 1:
        raise UserError(f"{name} is the only data set of params.yaml; add another one first.")
    write_params(without_row(text, name, DATASETS))
