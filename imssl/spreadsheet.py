"""Text in CSV files that a person may open in a spreadsheet.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return for a
formula and runs it. One rule for all tables: such text gets an apostrophe in front, and reading takes it off
again. Text that has apostrophes before such a character gets one more, so that every text comes back as it
was. Numbers are never touched.
"""

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

FORMULA = re.compile(r"'*[=+\-@\t\r]")
ESCAPED = re.compile(r"'+[=+\-@\t\r]")

# For `pandas.read_csv`. Every number comes back as it was written: pandas 3.1 does so by itself and calls the
# argument deprecated, older ones may be off by a unit in the last place without it.
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
EXACT_NUMBERS: dict[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}


def safe_text(text: str) -> str:
    """Text as it is written to a cell."""
    return "'" + text if FORMULA.match(text) else text


def original_text(cell: str) -> str:
    """Text of a cell that `safe_text` has written."""
    return cell[1:] if ESCAPED.match(cell) else cell


def safe_table(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it is written: the names of its columns and all text in it."""
    return _with_text(table, safe_text)


def original_table(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it was before `safe_table`."""
    return _with_text(table, original_text)


def _with_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    changed = table.rename(columns=lambda name: change(name) if isinstance(name, str) else name)
    for position, dtype in enumerate(table.dtypes):
        if pd.api.types.is_numeric_dtype(dtype):
            continue
        column = table.iloc[:, position]
        # Most columns repeat few texts, of which none is changed.
        if not any(change(cell) is not cell for cell in column.unique() if isinstance(cell, str)):
            continue
        cells = [change(cell) if isinstance(cell, str) else cell for cell in column]
        changed.isetitem(position, pd.Series(cells, index=table.index, dtype=column.dtype))  # type: ignore[arg-type]
    return changed
