"""The pieces that the page is made of, and how numbers are written on it; templates only place them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.intervals import Interval

METRIC_NAMES = {
    "macro_auroc": "macro AUROC",
    "auroc": "AUROC",
    "macro_f1": "macro F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "qwk": "quadratic weighted kappa",
}

# Okabe & Ito (2008), told apart by readers with any common colour vision; their yellow comes last, as it is
# faint on white. Each method has a shape of its own besides.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#F0E442")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right")


@dataclass(frozen=True)
class MethodStyle:
    """How a method looks in every table and chart.

    Attributes:
        name: its id.
        colour: hexadecimal RGB.
        shape: Vega's name of its symbol.
    """

    name: str
    colour: str
    shape: str


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
        text: the number, or what stands in its place.
        small: lines below it, in small type.
        best: whether it carries the mark of the best.
        hole: whether a result is missing here.
        title: a longer explanation of a hole.
        numeric: aligned to the right.
    """

    text: str
    small: tuple[str, ...] = ()
    best: bool = False
    hole: bool = False
    title: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """One row of a table; rows of one group share a heading."""

    label: str
    entries: tuple[Entry, ...]
    style: MethodStyle | None = None
    group: str = ""


@dataclass(frozen=True)
class Column:
    """Heading of a column, with a second line in small type."""

    label: str
    small: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: what it shows.
        corner: heading of the row labels.
        columns: headings.
        rows: in order.
        note: how to read it; below the table.
    """

    title: str
    corner: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        """Runs of rows that share a group."""
        return [(name, list(rows)) for name, rows in itertools.groupby(self.rows, key=lambda row: row.group)]


@dataclass(frozen=True)
class Figure:
    """A chart of the page.

    Attributes:
        id: unique on the page.
        title: what it shows.
        alternative: the same in words.
        spec: Vega-Lite.
        note: what the chart cannot show; may be empty.
    """

    id: str
    title: str
    alternative: str
    spec: dict[str, Any]
    note: str = ""


def method_styles(methods: Sequence[str]) -> dict[str, MethodStyle]:
    """A colour and a shape for each method, by its place in the protocol."""
    return {
        name: MethodStyle(name, COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)])
        for i, name in enumerate(methods)
    }


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits and a true minus sign; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    # Adding 0 turns a rounded -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def span(low: float | None, high: float | None, digits: int = 3) -> str:
    """Two ends of a range; "to" keeps it readable where an end is negative."""
    return f"{number(low, digits)} to {number(high, digits)}"


def percent(share: float) -> str:
    """A share as a percentage without needless digits."""
    return f"{100 * share:.6g}%"


def listed(items: Sequence[object]) -> str:
    """Words as in a sentence: a, b and c."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def interval_note(interval: Interval | None, seeds: int) -> str:
    """What an interval covers, for a table's note."""
    if interval is None:
        return "No interval: no method has results of every seed yet."
    units = f"{interval.units:,} test patients"
    if interval.unit == "samples":
        units = f"{interval.units:,} test images (the source names no patients, or has one image of each)"
    whose, spread = "One seed", "one seed has no spread to show"
    if seeds > 1:
        whose, spread = f"Mean over {seeds} seeds", "the line below shows the lowest and the highest seed"
    return (
        f"{whose}; in brackets the {percent(interval.level)} bootstrap interval over the {units}, "
        f"{interval.resamples:,} resamples. It covers the choice of test patients, not the choice of seeds: "
        f"{spread}. “best” is the highest mean of a column; where intervals overlap, it may be chance."
    )
