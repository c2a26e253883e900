"""Images of one's own, and a table with a row for each."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import pandas as pd

from imssl.datasets.files import Files, Reading, located, open_files, read_required
from imssl.datasets.label_values import split_of
from imssl.datasets.source import BadImage, RawSample, Source
from imssl.datasets.table_file import read_rows
from imssl.datasets.user_images import (
    UserImages,
    dicom_keywords,
    dicom_warnings,
    identity,
    image_reader,
    images_in,
    label_reader,
    user_source,
)
from imssl.errors import UserError
from imssl.regular_file import read_regular
from imssl.settings.user_datasets import ColumnSettings, TableSettings


def source(settings: TableSettings, reading: Reading) -> Source:
    """The images below a path that have a row in the table.

    The id of an image is its path below the data set's. An image without a row, a row without an image and a
    second row of an image cannot be used.

    Raises:
        UserError: the table or a column is missing, or the settings do not fit the files.
    """
    files = open_files(located(settings.path), reading.follow_links)
    title, content = table_content(settings.table, files)
    rows = read_rows(content, title, _columns(settings), settings.sheet)
    images = images_in(files, dicom_keywords(settings, list(rows.columns)))
    bad = list(images.bad)
    samples = list(_samples(settings, images, rows, title, bad))
    return user_source(
        settings,
        samples,
        image_reader(files.read, reading.window),
        split_origin=f"Column {settings.split_column} of {title}." if settings.split_column else "",
        bad=bad,
        unused=[(name, reason) for name, reason in images.unused if name != title],
        inputs={**images.files.checksums(), title: hashlib.sha256(content).hexdigest()},
        warnings=dicom_warnings(images.headers, reading.window),
    )


def table_content(table: str, files: Files) -> tuple[str, bytes]:
    """Name and content of the table: a file beside the images, or anywhere else.

    Raises:
        UserError: there is no such file.
    """
    if table in files.names:
        return table, read_required(files, table)
    path = located(table)
    try:
        return path.name, read_regular(path)
    except OSError as error:
        raise UserError(
            f"table: {table} is neither a file below {files.path}, nor can {path} be read ({error.strerror})."
        ) from None


def _columns(settings: TableSettings) -> list[str]:
    optional = (settings.patient_column, settings.split_column)
    return [settings.path_column, *settings.label_columns, *(column for column in optional if column)]


def _samples(
    settings: TableSettings, images: UserImages, rows: pd.DataFrame, title: str, bad: list[tuple[str, str]]
) -> Iterator[RawSample]:
    """The samples of the rows that can be used; the others go to ``bad``."""
    find, reader = ImageFinder(images.names), RowReader(settings)
    row_of: dict[str, str] = {}
    for line, row in zip(rows.index, rows.to_dict("records"), strict=True):
        written = row[settings.path_column]
        where = f"{title}, row {line}: {written}"
        try:
            name = find.image(written, where)
            if name in row_of:
                raise BadImage(where, f"has a second row: the first is {row_of[name]}")
            row_of[name] = where
            yield reader.sample(name, {str(key): value for key, value in row.items()}, images)
        except BadImage as reason:
            bad.append((reason.name, reason.reason))
    bad += [(name, f"has no row in {title}") for name in images.names if name not in row_of]


class RowReader:
    """Turns the row of an image into a sample, as the settings of the columns say."""

    def __init__(self, settings: ColumnSettings) -> None:
        self._settings = settings
        self._labels = label_reader(settings)
        self._identity = identity(settings)

    def sample(self, name: str, row: Mapping[str, str], images: UserImages | None) -> RawSample:
        """The sample of an image.

        Args:
            name: of the image, which becomes the sample's id.
            row: cells by column.
            images: with headers of DICOM images; None if there are none.

        Raises:
            BadImage: a label, the split or the patient cannot be used.
        """
        settings = self._settings
        header = images.headers.get(name) if images else None
        labels = self._labels.labels([row[column] for column in settings.label_columns], name)
        split = ""
        if settings.split_column and settings.splits == "official":
            split = split_of(row[settings.split_column], name)
        patient, attributes, kept_with = self._identity.of(name, header, row, settings.patient_column)
        return RawSample(name, patient, split, labels, attributes, kept_with)


class ImageFinder:
    """Finds the image that a cell means: by its path, the end of its path, or its name without the suffix."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = set(names)
        self._by_end: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            path = PurePosixPath(name)
            for key in {path.name, path.stem}:
                self._by_end[key].append(name)

    def image(self, written: str, where: str) -> str:
        """The name of the image.

        Args:
            written: as the table has it; backslashes are read as slashes.
            where: the row, for the error.

        Raises:
            BadImage: no image, or more than one, fits.
        """
        path = written.replace("\\", "/").removeprefix("./")
        if not path:
            raise BadImage(where, "has no image: the cell is empty")
        if path in self._names:
            return path
        last = PurePosixPath(path).name
        candidates = self._by_end.get(last, [])
        # A longer path decides where several images have the same name; it may begin above the data set.
        fitting = [name for name in candidates if _same_end(name, path)]
        if not fitting:
            raise BadImage(where, "has no image")
        if len(fitting) > 1:
            raise BadImage(where, f"fits several images: {fitting[0]} and {fitting[1]}")
        return fitting[0]


def _same_end(name: str, path: str) -> bool:
    """Whether the shorter of two paths, with or without a suffix, is the end of the longer."""
    for candidate in (name, str(PurePosixPath(name).with_suffix(""))):
        longer, shorter = sorted((candidate.split("/"), path.strip("/").split("/")), key=len, reverse=True)
        if longer[-len(shorter) :] == shorter:
            return True
    return False
