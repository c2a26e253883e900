"""The tables that compare: methods as rows, data sets and label fractions (or blocks) as columns."""

from dataclasses import dataclass, replace

import pandas as pd

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
    percent,
    short_rank,
    signed,
    span,
)
from bench.report.tables.label_counts import NOTE as LABELS_NOTE
from bench.report.tables.label_counts import labels_drawn
from bench.report.view import Record, View
from bench.report.wording import difference_note, p_value, score_note
from bench.summary.summary import Measurement
from imssl.settings.encoder import BLOCKS

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
    """Primary metric with interval and rank; with enough seeds the best and its ties are marked."""
    view = scope.view
    places = places_of(scope, evaluation)
    several = view.several
    rows = []
    for method in view.methods:
        entries = [
            score_entry(
                view,
                Measurement(dataset, method, evaluation, *place, "", view.summary.primary(dataset)),
                several,
            )
            for dataset in scope.datasets
            for place in places
        ]
        if scope.is_whole:
            entries.append(aggregate_entry(view, (evaluation, None, None, method), "mean_rank"))
        rows.append(replace(view.head(method, scope.root), entries=tuple(entries)))
    columns = columns_of(scope, evaluation)
    labels_note = LABELS_NOTE if any(column.small for column in columns) else ""
    if scope.is_whole:
        columns.append(Column("mean rank", group=OVER_ALL, group_small="all columns", lower_is_better=True))
    return Table(
        id=f"scores-{evaluation}",
        title=f"{EVALUATION_NAMES[evaluation]}: primary metric",
        corner="Method",
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"{_score_note(view)} {labels_note}".rstrip(),
        evaluation=evaluation,
        metric="primary",
    )


def difference_table(scope: Scope, evaluation: str) -> Table:
    """Every method against the baseline, on the same test samples and seeds."""
    view, baseline = scope.view, scope.view.summary.protocol.report.baseline
    rows = []
    for method in view.methods:
        if method != baseline:
            entries = [
                difference_entry(
                    view, Measurement(dataset, method, evaluation, *place, "", view.summary.primary(dataset))
                )
                for dataset in scope.datasets
                for place in places_of(scope, evaluation)
            ]
            rows.append(replace(view.head(method, scope.root), entries=tuple(entries)))
    settings, seeds = view.summary.protocol.report, len(view.summary.protocol.seeds)
    marks = (
        f" “better” and “worse”: p below {number(1 - settings.level, 2)}."
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
    standing = view.ranks.get((name.dataset, name.evaluation, name.fraction, name.block, name.method))
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
        mark = "best" if standing["best"] else "tied" if standing["tied"] else ""
    return Entry(number(standing["mean"]), tuple(small), mark)


def difference_entry(view: View, name: Measurement) -> Entry:
    """A difference to the baseline with interval and p, or why there is none."""
    difference = view.differences.get((name.dataset, name.evaluation, name.fraction, name.block, name.method))
    if difference is None or pd.isna(difference["effect"]):
        return Entry("–", hole=True, title=difference["reason"] if difference else "no result yet")
    small = [] if pd.isna(difference["low"]) else [span(difference["low"], difference["high"])]
    if not pd.isna(difference["p_holm"]):
        small.append(p_value(difference["p_holm"]))
    mark: Mark = ""
    if difference["distinguishable"]:
        mark = "better" if difference["effect"] > 0 else "worse"
    return Entry(signed(difference["effect"]), tuple(small), mark)


def aggregate_entry(view: View, key: tuple[str, float | None, int | None, str], kind: str) -> Entry:
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


def places_of(scope: Scope, evaluation: str) -> list[tuple[float | None, int | None]]:
    """Fraction and block of an evaluation's columns."""
    if evaluation == "probe":
        return [(None, block) for block in range(1, BLOCKS + 1)]
    return [(fraction, None) for fraction in scope.view.summary.protocol.label_fractions]


def place_name(place: tuple[float | None, int | None]) -> str:
    """A column's heading; empty where it is neither."""
    fraction, block = place
    return f"block {block}" if block else "" if fraction is None else percent(fraction)


def columns_of(scope: Scope, evaluation: str, metric: str = "") -> list[Column]:
    """A column per data set and place; below the data set stands its primary metric, or the given one."""
    columns, summary = [], scope.view.summary
    for dataset in scope.datasets:
        judged_by = metric or summary.primary(dataset)
        for fraction, block in places_of(scope, evaluation):
            written = "" if fraction is None else f"{fraction:g}"
            columns.append(
                Column(
                    place_name((fraction, block)),
                    labels_drawn(summary, dataset, evaluation, fraction),
                    group=dataset,
                    group_small=METRIC_NAMES[judged_by],
                    dataset=dataset,
                    fraction=written,
                    place=written or f"block-{block}",
                    lower_is_better=judged_by in LOWER_IS_BETTER,
                )
            )
    return columns


def _score_note(view: View) -> str:
    protocol = view.summary.protocol
    units = sorted({f"{column.units:,} {column.unit}" for column in view.summary.columns.values()})
    return score_note(len(protocol.seeds), units, protocol.report)
