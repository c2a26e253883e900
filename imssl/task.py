"""What kind of labels a data set has; apart from what reads data sets, which a method must not import."""

from typing import Literal

Task = Literal["multilabel", "binary", "multiclass", "ordinal"]
