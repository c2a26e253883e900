"""The tables that compare: methods as rows, data sets and label sets (or blocks) as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.analysis.ranking.against_untrained import STRONGER
from bench.report.entries import hole_of
from bench.report.layout import (
    EVALUATION_NAMES,
    LOWER_IS_BETTER,
    METRIC_NAMES,
    Column,
    Entry,
    Mark,
    Table,
    number,
    short_rank,
    signed,
    span,
)
from bench.report.material.label_counts import NOTE as LABELS_NOTE
from bench.report.material.label_counts import labels_drawn
from bench.report.material.wording import ANOTHER_METHOD, CORRECTION, difference_note, p_value, score_note
from bench.report.view import Record, Records, View
from bench.summary.summary import Measurement
from imssl.settings.encoder import BLOCKS
from imssl.settings.labels import LabelSet

OVER_ALL = "All data sets"


@dataclass(frozen=True)
class Scope:
    """Which part of a run a page is about.

    Attributes:
        view: the run.
        datasets: ids.
        root: of the reports, as seen from the page.
    """

    view: View
    datasets: tuple[str, ...]
    root: str

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole run."""
        return len(self.datasets) == len(self.view.summary.protocol.datasets)


def score_table(scope: Scope, evaluation: str) -> Table:
    """Primary metric with interval and rank; with enough seeds what is worse than the best is marked."""
    view = scope.view
    places = places_of(scope, evaluation)
    several = view.several
    rows = []
    for method in view.ordered(evaluation):
        entries = [standing_entry(view, evaluation, method)] if scope.is_whole else []
        entries += [
            score_entry(
                view,
                Measurement(dataset, method, evaluation, *place, "", view.summary.primary(dataset)),
                several,
            )
            for dataset in scope.datasets
            for place in places
        ]
        rows.append(replace(view.head(method, scope.root), entries=tuple(entries)))
    columns = columns_of(scope, evaluation)
    labels_note = LABELS_NOTE if any(column.small for column in columns) else ""
    if scope.is_whole:
        columns.insert(0, standing_column(view, evaluation))
    return Table(
        id=f"scores-{evaluation}",
        title=f"{EVALUATION_NAMES[evaluation]}: primary metric",
        corner="Method",
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"{_score_note(scope)} {labels_note}".rstrip(),
        evaluation=evaluation,
        metric="primary",
    )


def difference_table(scope: Scope, evaluation: str) -> Table:
    """Every method against the baseline, on the same test samples and seeds."""
    baseline = scope.view.summary.protocol.report.baseline
    return _difference_table(scope, evaluation, scope.view.differences, baseline, [baseline])


def untrained_table(scope: Scope, evaluation: str) -> Table | None:
    """Every method against the stronger untrained reference of each column; None where there is none."""
    view = scope.view
    if not view.untrained:
        return None
    table = _difference_table(scope, evaluation, view.untrained_differences, STRONGER, view.untrained)
    chosen = {key[:-1]: row["baseline"] for key, row in view.untrained_differences.items() if row["baseline"]}
    names = [
        chosen.get((dataset, evaluation, *place), "")
        for dataset in scope.datasets
        for place in places_of(scope, evaluation)
    ]
    columns = [
        replace(column, small=", ".join(part for part in (column.small, f"minus {name}") if part))
        if name
        else column
        for column, name in zip(table.columns, names, strict=True)
    ]
    note = f"{table.note} Which untrained encoder is the stronger one is chosen on validation images."
    return replace(table, id=f"untrained-{evaluation}", columns=tuple(columns), note=note)


def _difference_table(
    scope: Scope, evaluation: str, differences: Records, baseline: str, left_out: Sequence[str]
) -> Table:
    view, rows = scope.view, []
    for method in view.ordered(evaluation):
        if method not in left_out:
            entries = [
                difference_entry(
                    differences,
                    Measurement(dataset, method, evaluation, *place, "", view.summary.primary(dataset)),
                )
                for dataset in scope.datasets
                for place in places_of(scope, evaluation)
            ]
            rows.append(replace(view.head(method, scope.root), entries=tuple(entries)))
    settings, seeds = view.summary.protocol.report, len(view.summary.protocol.seeds)
    marks = (
        f" “better” and “worse” mark a p below {number(1 - settings.level, 2)} when {CORRECTION} (in a "
        f"cell's title). {ANOTHER_METHOD}; what is marked depends on how many are tested."
        if seeds >= settings.least_seeds
        else ""
    )
    return Table(
        id=f"differences-{evaluation}",
        title=f"{EVALUATION_NAMES[evaluation]}: difference to {baseline}",
        corner="Method",
        columns=tuple(columns_of(scope, evaluation)),
        rows=tuple(rows),
        note=difference_note("Method", baseline, seeds, settings) + marks,
        evaluation=evaluation,
        metric="primary",
    )


def score_entry(view: View, name: Measurement, several: bool) -> Entry:
    """A primary metric with interval, rank and mark; rank and mark only where there are several methods."""
    standing = view.ranks.get((name.dataset, name.evaluation, name.labels, name.block, name.method))
    if standing is None or pd.isna(standing["mean"]):
        hole = hole_of(view.summary, name)
        return hole if standing is None else replace(hole, title=hole.title or standing["reason"])
    small = [] if pd.isna(standing["low"]) else [span(standing["low"], standing["high"])]
    mark: Mark = ""
    if several:
        ends = ""
        if not pd.isna(standing["rank_low"]):
            low, high = short_rank(standing["rank_low"]), short_rank(standing["rank_high"])
            ends = f" ({low})" if low == high else f" ({low}–{high})"
        if not standing["reference"]:
            small.append(f"rank {short_rank(standing['rank'])}{ends}")
        if not standing["reference"] and not pd.isna(standing["p_best"]) and not standing["tied"]:
            mark = "worse"
    return Entry(number(standing["mean"]), tuple(small), mark)


def difference_entry(differences: Records, name: Measurement) -> Entry:
    """A difference with interval and p, or why there is none."""
    difference = differences.get((name.dataset, name.evaluation, name.labels, name.block, name.method))
    if difference is None or pd.isna(difference["effect"]):
        return Entry("–", hole=True, title=difference["reason"] if difference else "no result yet")
    small = [] if pd.isna(difference["low"]) else [span(difference["low"], difference["high"])]
    if not pd.isna(difference["p"]):
        small.append(p_value(difference["p"]))
    title = ""
    if not pd.isna(difference["p_corrected"]):
        title = f"{p_value(difference['p_corrected'])} {CORRECTION}"
    mark: Mark = ""
    if difference["distinguishable"]:
        mark = "better" if difference["effect"] > 0 else "worse"
    return Entry(signed(difference["effect"]), tuple(small), mark, title=title)


def standing_column(view: View, evaluation: str, label: str = "mean score") -> Column:
    """Heading of the mean scores over all data sets, by which the leaderboard is ordered."""
    columns = sum(place.evaluation == evaluation for place in view.summary.columns)
    return Column(
        label, f"{columns:,} columns", group=OVER_ALL, group_small="0 chance, 1 perfect",
        evaluation=evaluation, aggregate="score",
    )  # fmt: skip


def standing_entry(view: View, evaluation: str, method: str) -> Entry:
    """A method's mean score over all data sets with its interval, or why there is none."""
    standing = view.standings[evaluation, method]
    if pd.isna(standing["mean_score"]):
        return Entry("incomplete", hole=True, title=standing["reason"])
    small: tuple[str, ...] = () if pd.isna(standing["low"]) else (span(standing["low"], standing["high"]),)
    return Entry(number(standing["mean_score"]), small, "worse" if standing["worse"] else "")


def aggregate_entry(view: View, key: tuple[str, LabelSet | None, int | None, str], kind: str) -> Entry:
    """One aggregate of a method with its interval, or why there is none."""
    aggregate = view.aggregates.get(key)
    if aggregate is None or pd.isna(aggregate[kind]):
        return _without_aggregate(aggregate, kind)
    digits = 2 if kind != "iqm" else 3
    low, high = aggregate.get(f"{kind}_low"), aggregate.get(f"{kind}_high")
    return Entry(number(aggregate[kind], digits), () if pd.isna(low) else (span(low, high, digits),))


def _without_aggregate(aggregate: Record | None, kind: str) -> Entry:
    if aggregate is None or aggregate["reason"]:
        title = aggregate["reason"] if aggregate else "no result yet"
        return Entry("incomplete", hole=True, title=title)
    title = "a reference, not ranked" if kind == "mean_rank" else "the baseline itself"
    return Entry("–", hole=True, title=title)


# Label set and block of a column; None where it is not about one.
Place = tuple[LabelSet | None, int | None]


def places_of(scope: Scope, evaluation: str) -> list[Place]:
    """Of an evaluation's columns."""
    if evaluation == "probe":
        return [(None, block) for block in range(1, BLOCKS + 1)]
    return [(labels, None) for labels in scope.view.summary.protocol.label_sets]


def place_name(place: Place) -> str:
    """A column's heading; empty where it is neither."""
    labels, block = place
    return f"block {block}" if block else "" if labels is None else labels.name


def columns_of(scope: Scope, evaluation: str, metric: str = "") -> list[Column]:
    """A column per data set and place; below the data set stands its primary metric, or the given one."""
    columns, summary = [], scope.view.summary
    for dataset in scope.datasets:
        judged_by = metric or summary.primary(dataset)
        for labels, block in places_of(scope, evaluation):
            written = "" if labels is None else labels.id
            columns.append(
                Column(
                    place_name((labels, block)),
                    labels_drawn(summary, dataset, evaluation, labels),
                    group=dataset,
                    group_small=METRIC_NAMES[judged_by],
                    dataset=dataset,
                    labels=written,
                    place=written or f"block-{block}",
                    lower_is_better=judged_by in LOWER_IS_BETTER,
                    metric=judged_by,
                )
            )
    return columns


def _score_note(scope: Scope) -> str:
    summary = scope.view.summary
    protocol = summary.protocol
    columns = [column for place, column in summary.columns.items() if place.dataset in scope.datasets]
    units = sorted({f"{column.units:,} {column.unit}" for column in columns})
    return score_note(len(protocol.seeds), units, protocol.report)
