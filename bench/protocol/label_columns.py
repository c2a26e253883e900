"""A label set as columns of a table: one for a share of the labels, one for a number per class."""

import math
from collections.abc import Mapping
from typing import Any

from imssl.settings.labels import LabelSet

LABEL_COLUMNS = ("fraction", "labels_per_class")


def label_columns(labels: LabelSet | None) -> dict[str, float | int | None]:
    """Both columns of a label set, with None where it has no value."""
    return dict.fromkeys(LABEL_COLUMNS) | label_column(labels)


def label_column(labels: LabelSet | None) -> dict[str, float | int | None]:
    """The one column that a label set has a value in; empty where there is no set."""
    values = (None, None) if labels is None else (labels.fraction, labels.per_class)
    return {name: value for name, value in zip(LABEL_COLUMNS, values, strict=True) if value is not None}


def labels_in(row: Mapping[Any, Any]) -> LabelSet | None:
    """The label set that a row is about.

    Args:
        row: of a table with the columns; missing values are None, NaN or pandas' NA, or not there at all.
    """
    fraction, per_class = (_plain(row.get(name)) for name in LABEL_COLUMNS)
    if per_class is not None:
        return LabelSet(per_class=int(per_class))
    return None if fraction is None else LabelSet(fraction=float(fraction))


def _plain(value: Any) -> Any:
    """None in the place of what is missing; pandas' NA is no number, and equals nothing."""
    is_number = isinstance(value, int | float) and not math.isnan(value)
    return value if is_number else None
