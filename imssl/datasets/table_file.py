"""A table of one's own, whatever its format: CSV, TSV, Parquet or Excel, as rows of text."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from imssl.datasets.text import check_columns, decode_text, read_table
from imssl.errors import UserError, first_line

if TYPE_CHECKING:
    from openpyxl import Workbook

EXCEL = (".xlsx", ".xlsm")
SUFFIXES = (".csv", ".tsv", ".tab", ".parquet", ".pq", *EXCEL)


def is_table(name: str) -> bool:
    """Whether a file's suffix is that of a table that can be read."""
    return name.lower().endswith(SUFFIXES)


def read_rows(
    content: bytes, title: str, columns: Sequence[str] = (), sheet: str | None = None
) -> pd.DataFrame:
    """A table as (N) rows, in which all columns are str and empty cells are empty strings.

    Whole numbers are given without a fraction, whatever the type of their column: an empty cell makes pandas
    and Parquet turn a column of whole numbers into one of fractions.

    Args:
        content: of the file.
        title: name of the file; its suffix says what it is.
        columns: that it must have.
        sheet: of an Excel file; None for the first.

    Raises:
        UserError: it is not such a file, lacks a column, or has no rows.
    """
    suffix = PurePosixPath(title).suffix.lower()
    if suffix in (".tsv", ".tab"):
        return read_table(content, title, columns, separator="\t")
    if suffix in (".parquet", ".pq"):
        table = _parquet(content, title)
    elif suffix in EXCEL:
        table = _excel(content, title, sheet)
    elif suffix == ".csv":
        return read_table(content, title, columns, separator=csv_separator(content, title))
    else:
        raise UserError(f"{title} is not a table that can be read; save it as one of {', '.join(SUFFIXES)}.")
    check_columns(list(map(str, table.columns)), title, columns)
    return table


def csv_separator(content: bytes, title: str) -> str:
    """Comma or semicolon: where the comma is the decimal sign, Excel writes semicolons into its CSV files.

    Raises:
        UserError: the file is not text.
    """
    header = decode_text(content, title).split("\n", 1)[0]
    return ";" if header.count(";") > header.count(",") else ","


def _parquet(content: bytes, title: str) -> pd.DataFrame:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{title} is not a readable Parquet file ({first_line(error)}).") from None
    kept = [field.name for field in table.schema if _holds_values(field.type)]
    rows = {name: [cell_text(value) for value in table.column(name).to_pylist()] for name in kept}
    return pd.DataFrame(rows, columns=kept, dtype=str).rename_axis(index="line")


def _holds_values(type_: Any) -> bool:
    from pyarrow import types

    return not (types.is_nested(type_) or types.is_binary(type_) or types.is_large_binary(type_))


def sheet_names(content: bytes, title: str) -> list[str]:
    """Names of the sheets of an Excel file; none for a table of another kind.

    Raises:
        UserError: it is not such a file.
    """
    return _workbook(content, title).sheetnames if title.lower().endswith(EXCEL) else []


def _workbook(content: bytes, title: str) -> "Workbook":
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        return load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise UserError(f"{title} is not a readable Excel file ({error}).") from None


def _excel(content: bytes, title: str, sheet: str | None) -> pd.DataFrame:
    workbook = _workbook(content, title)
    if sheet is not None and sheet not in workbook.sheetnames:
        raise UserError(f"{title} has no sheet {sheet!r}; it has {', '.join(workbook.sheetnames)}.")
    rows = [
        [cell_text(value).strip() for value in row]
        for row in workbook[sheet or workbook.sheetnames[0]].iter_rows(values_only=True)
    ]
    rows = [row for row in rows if any(row)]
    if not rows:
        raise UserError(f"{title}: the sheet is empty.")
    header, *body = rows
    nameless = [n for n, name in enumerate(header) if not name and any(row[n] for row in body)]
    if nameless:
        raise UserError(f"{title}: column {nameless[0] + 1} has values, but no name in the first row.")
    named = [n for n, name in enumerate(header) if name]
    table = pd.DataFrame(
        [[row[n] for n in named] for row in body], columns=[header[n] for n in named], dtype=str
    )
    return table.rename_axis(index="line")


def cell_text(value: object) -> str:
    """A cell as text: empty for a missing value, whole numbers without a fraction."""
    if value is None or value != value:  # NaN and NaT are not equal to themselves
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
