"""The pieces that the page is made of, and how numbers are written on it; templates only place them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from bench.protocol.stage_specs import STAGES

METRIC_NAMES = {
    "macro_auroc": "macro AUROC",
    "auroc": "AUROC",
    "macro_f1": "macro F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "qwk": "quadratic weighted kappa",
    "macro_average_precision": "macro average precision",
    "average_precision": "average precision",
    "sensitivity_at_90_specificity": "sensitivity at 90% specificity",
    "brier_score": "Brier score",
    "calibration_error": "expected calibration error",
}
# Of all other metrics the higher value is the better one.
LOWER_IS_BETTER = frozenset({"brier_score", "calibration_error"})


@dataclass(frozen=True)
class EvaluationWords:
    """What the pages call an evaluation.

    Attributes:
        title: of its tables.
        within_sentence: the same after "ahead beyond chance in".
        short: heading of its column where several evaluations stand side by side.
        remark: what the title of a chart adds where not all weights are trained; may be empty.
    """

    title: str
    within_sentence: str
    short: str
    remark: str = ""


# Every stage of bench.protocol.stage_specs that leaves predictions, in the order of the pages.
EVALUATIONS = {
    "finetune": EvaluationWords("Fine-tuning of all weights", "fine-tuning", "fine-tuning"),
    "frozen": EvaluationWords(
        "Linear classifier on the frozen encoder",
        "the linear classifier on the frozen encoder",
        "frozen, linear",
        ", frozen encoder",
    ),
    "knn": EvaluationWords(
        "Nearest neighbours on the frozen encoder",
        "nearest neighbours",
        "frozen, kNN",
        ", nearest neighbours",
    ),
    "probe": EvaluationWords("Linear probes of each block", "linear probes", "probes"),
}
EVALUATION_NAMES = {evaluation: words.title for evaluation, words in EVALUATIONS.items()}
# The evaluations that there are for every label set.
BY_LABEL_SET = tuple(name for name in EVALUATION_NAMES if STAGES[name].per_label_set)
KERNEL_NAMES = {"linear": "linear kernel", "rbf": "RBF kernel"}

# After Okabe & Ito (2008), told apart by readers with any common colour vision, and dark enough to stand at
# 3:1 on white (WCAG 2.1, 1.4.11). A method has a shape of its own besides, so that no two of 56 look alike.
COLOURS = ("#0072B2", "#D55E00", "#00835F", "#B4588F", "#333333", "#A87300", "#2B86BD", "#857C00")
# The same for the dark theme; the page swaps one set for the other.
DARK_COLOURS = ("#4AA8E0", "#F28C4B", "#2FBF93", "#DE95C4", "#E4E4E4", "#E0A526", "#7CC4F0", "#D8CE3C")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right")

# What stands over all data sets, and is computed anew where the reader leaves some out.
Aggregate = Literal["score", "mean_rank", "iqm", "improvement"]
Mark = Literal["", "better", "worse"]


@dataclass(frozen=True)
class MethodStyle:
    """How a method looks in every table and chart of every page.

    Attributes:
        name: its id.
        colour: hexadecimal RGB in the light theme.
        shape: Vega's name of its symbol.
        place: of its colour in COLOURS; the style sheet names colours so.
    """

    name: str
    colour: str
    shape: str
    place: int


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
        text: the number, or what stands in its place.
        small: lines below it, in small type.
        mark: ``worse`` than the best of the column, or than the baseline, beyond chance; ``better`` than the
            baseline; or nothing.
        hole: whether a result is missing here.
        title: a longer explanation.
        numeric: aligned to the right.
    """

    text: str
    small: tuple[str, ...] = ()
    mark: Mark = ""
    hole: bool = False
    title: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it.

    Attributes:
        address: ``data:`` URL of a PNG.
        words: the same in words.
        width: of the PNG in pixels.
        height: likewise.
    """

    address: str
    words: str
    width: int
    height: int


@dataclass(frozen=True)
class Row:
    """One row of a table; rows of one group share a heading.

    Attributes:
        label: its heading.
        entries: as many as the table has columns.
        style: of the method that the row is about.
        group: heading shared with the rows before and after it.
        link: address of the page about what the heading names.
        note: a warning below the heading.
        picture: before the heading.
    """

    label: str
    entries: tuple[Entry, ...]
    style: MethodStyle | None = None
    group: str = ""
    link: str = ""
    note: str = ""
    picture: Picture | None = None


@dataclass(frozen=True)
class Column:
    """Heading of a column, with a second line in small type.

    Attributes:
        label: the heading.
        small: the second line.
        numeric: aligned to the right.
        group: heading shared with the columns before and after it.
        group_small: second line of that.
        dataset: that its cells are about; the filter finds it by this.
        labels: id of the label set, likewise.
        place: label set or block of its cells, as the cell details name it; empty: no details.
        lower_is_better: that sorting by it starts with the lowest number.
        metric: of its cells, where the filter of metrics must distinguish it from those beside it.
        evaluation: of its cells, where the table is about several.
        aggregate: what its cells are over all data sets, which filters recompute: ``score``, ``mean_rank``,
            ``iqm`` or ``improvement``.
    """

    label: str
    small: str = ""
    numeric: bool = True
    group: str = ""
    group_small: str = ""
    dataset: str = ""
    labels: str = ""
    place: str = ""
    lower_is_better: bool = False
    metric: str = ""
    evaluation: str = ""
    aggregate: Aggregate | None = None


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        id: unique on the page; letters, digits and hyphens.
        title: what it shows.
        corner: heading of the row labels.
        columns: headings.
        rows: in order.
        note: how to read it; below the table.
        evaluation: whose cells it shows, for filter and details; may be empty.
        metric: that it shows, for the filter; may be empty.
    """

    id: str
    title: str
    corner: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    evaluation: str = ""
    metric: str = ""

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        """Runs of rows that share a group."""
        return [(name, list(rows)) for name, rows in itertools.groupby(self.rows, key=lambda row: row.group)]

    @property
    def column_groups(self) -> list[tuple[str, list[Column]]]:
        """Runs of columns that share a group; empty where no column has one."""
        if not any(column.group for column in self.columns):
            return []
        groups = itertools.groupby(self.columns, key=lambda column: column.group)
        return [(name, list(columns)) for name, columns in groups]


@dataclass(frozen=True)
class Figure:
    """A chart of the page.

    Attributes:
        id: unique on the page.
        title: what it shows.
        alternative: the same in words.
        spec: Vega-Lite, drawn by the page.
        size: width and height of the drawing in pixels, about; the page keeps room of this shape.
        note: what the chart cannot show; may be empty.
        dataset: that it is about; the filter finds it by this.
        labels: id of the label set, likewise; empty: all of them.
        others: records of the methods beyond those drawn, which the page draws when they are ticked.
    """

    id: str
    title: str
    alternative: str
    spec: dict[str, Any]
    size: tuple[int, int]
    note: str = ""
    dataset: str = ""
    labels: str = ""
    others: tuple[dict[str, Any], ...] = ()


@cache
def method_styles(methods: tuple[str, ...]) -> dict[str, MethodStyle]:
    """A colour and a shape for each method, by its place in the protocol."""
    return {
        name: MethodStyle(name, COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)], i % len(COLOURS))
        for i, name in enumerate(methods)
    }


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits and a true minus sign; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:,.{digits}f}"
    if text[0] != "-":
        return text
    # What is rounded to 0 has no sign.
    return text.replace("-", "−" if text.strip("-0.") else "")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference: as a number, with a plus sign where it is above 0."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and text != number(0.0, digits) else text


def span(low: float | None, high: float | None, digits: int = 3) -> str:
    """Two ends of a range; "to" keeps it readable where an end is negative."""
    ends = number(low, digits), number(high, digits)
    return (" to " if any("−" in end for end in ends) else "–").join(ends)


def short_rank(rank: float) -> str:
    """A rank, with a decimal only where ties share one."""
    return number(rank, 0 if float(rank).is_integer() else 1)


def percent(share: float) -> str:
    """A share as a percentage without needless digits."""
    return f"{100 * share:.6g}%"


def listed(items: Sequence[object]) -> str:
    """Words as in a sentence: a, b and c; empty where there are none, so that it can be asked for."""
    words = [str(item) for item in items]
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
