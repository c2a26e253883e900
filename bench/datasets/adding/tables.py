"""The tables beside a user's images: which describes them, and why the others do not."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pandas as pd

from imssl.datasets.huggingface_files import jsonl_columns
from imssl.datasets.source import BadImage
from imssl.datasets.table import ImageFinder, table_content
from imssl.datasets.table_file import is_table, read_rows, sheet_names
from imssl.datasets.user_images import UserImages
from imssl.errors import UserError

# Rows of a table by which the column of the images is recognised.
TRIED_ROWS = 200
# Tables of other programs, which are refused with the advice to save them as one that is read.
OTHER_KINDS = (".xls", ".ods")
# How many columns of a table are named where it does not name the images.
SHOWN_COLUMNS = 6


@dataclass(frozen=True)
class LabelTable:
    """A table that may describe the images.

    Attributes:
        name: of the file below the images' folder, or its path.
        rows: its cells as text.
        path_column: whose cells name images; empty if none does.
        sheets: a note on an Excel file's sheets, of which one was read; empty if there are no others.
    """

    name: str
    rows: pd.DataFrame
    path_column: str
    sheets: str = ""


@dataclass
class Tables:
    """The tables beside the images, by what came of reading them.

    Attributes:
        fitting: that name the images; or the given one, whether it does or not.
        broken: why each of some cannot be read.
        others: a phrase on each that can be read and does not name the images.
    """

    fitting: list[LabelTable] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """What a user should know of tables that are not used, a sentence or two each."""
        return [f"This table cannot be read, so nothing in it is used: {error}" for error in self.broken] + [
            f"Not used, as it does not name the images: {other}." for other in self.others
        ]


def tables_beside(images: UserImages, given: str | None, sheet: str | None) -> Tables:
    """The tables that lie beside the images, or the given one alone.

    Args:
        images: that a table should name.
        given: file with the table; None to look for it.
        sheet: of an Excel file; None for the first.

    Raises:
        UserError: the given table cannot be read.
    """
    finder = ImageFinder(images.names)
    if given is not None:
        title, content = table_content(given, images.files)
        return Tables(fitting=[_read(content, given, title, sheet, finder)])
    tables = Tables()
    for name in images.files.names:
        try:
            if PurePosixPath(name).name == "metadata.jsonl":
                jsonl_columns(images.files.read(name), name)  # whole, it would be one of Hugging Face
            if not is_table(name) and not name.lower().endswith(OTHER_KINDS):
                continue
            table = _read(images.files.read(name), name, name, sheet, finder)
        except (UserError, BadImage) as error:
            tables.broken.append(str(error))
            continue
        if table.path_column:
            tables.fitting.append(table)
        else:
            columns = list(map(str, table.rows.columns))
            more = ", ..." if len(columns) > SHOWN_COLUMNS else ""
            tables.others.append(f"{name} (columns {', '.join(columns[:SHOWN_COLUMNS])}{more}{table.sheets})")
    return tables


def _read(content: bytes, name: str, title: str, sheet: str | None, finder: ImageFinder) -> LabelTable:
    sheets = sheet_names(content, title)
    read = sheet or next(iter(sheets), "")
    others = f"; read was sheet {read} of {', '.join(sheets)}: see --sheet" if len(sheets) > 1 else ""
    try:
        rows = read_rows(content, title, sheet=sheet)
    except UserError as error:
        raise UserError(f"{error}{' (' + others.removeprefix('; ') + ')' if others else ''}") from None
    return LabelTable(name, rows, _path_column(rows, finder), others)


def _path_column(rows: pd.DataFrame, finder: ImageFinder) -> str:
    """The column most of whose cells name an image; empty if there is none."""
    tried = rows.head(TRIED_ROWS)
    hits = {column: sum(_names_image(cell, finder) for cell in tried[column]) for column in rows.columns}
    best = max(hits, key=lambda column: hits[column], default="")
    return best if hits and hits[best] * 2 > len(tried) else ""


def _names_image(cell: str, finder: ImageFinder) -> bool:
    try:
        finder.image(cell, "")
    except BadImage:
        return False
    return True
