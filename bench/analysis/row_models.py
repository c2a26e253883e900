"""What the columns of the analysis' tables are: a model of its rows for each, with types and meanings."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from bench.summary.tidy import none_for_missing

Number = float | None
Count = int | None
Flag = bool | None

# The column types of a frame; text is as pandas has it.
DTYPES: dict[Any, str] = {Number: "float64", Count: "Int64", int: "int64", bool: "bool", Flag: "object"}


class RowModel(BaseModel):
    """A row of a table; a field's annotation and description are its column's type and meaning."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @classmethod
    def columns(cls) -> list[str]:
        """Names of the columns, in their order."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def table(cls, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """A frame of some rows, with the types of the model; no rows give an empty frame with all columns.

        Raises:
            KeyError: a row has a column that the model does not know.
        """
        records = list(rows)
        unknown = {name for record in records for name in record} - set(cls.columns())
        if unknown:
            raise KeyError(f"{cls.__name__} has no column {', '.join(sorted(unknown))}")
        frame = pd.DataFrame(records, columns=cls.columns())
        types = {
            field.alias or name: DTYPES[field.annotation]
            for name, field in cls.model_fields.items()
            if field.annotation in DTYPES
        }
        return frame.astype(types)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table with None in the place of what is missing."""
    rows = none_for_missing(table).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
