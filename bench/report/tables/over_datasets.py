"""The tables over data sets and over label fractions: aggregates, and what labels are worth."""

from dataclasses import replace

import pandas as pd

from bench.report.layout import EVALUATION_NAMES, Column, Entry, Table, number, percent, span
from bench.report.tables.comparisons import Scope, aggregate_entry, place_name, places_of
from bench.report.view import Record


def aggregate_table(scope: Scope, evaluation: str) -> Table:
    """Every method over all data sets: mean rank, interquartile mean and probability of improvement."""
    view, baseline = scope.view, scope.view.summary.protocol.report.baseline
    places = [*places_of(scope, evaluation), (None, None)]
    kinds = {
        "mean_rank": "Mean rank",
        "iqm": "Interquartile mean",
        "improvement": f"P(better than {baseline})",
    }
    rows = []
    for method in view.methods:
        entries = [
            aggregate_entry(view, (evaluation, *place, method), kind) for kind in kinds for place in places
        ]
        rows.append(replace(view.head(method, scope.root), entries=tuple(entries)))
    columns = tuple(
        Column(
            place_name(place) or "all", group=heading, fraction="" if place[0] is None else f"{place[0]:g}"
        )
        for heading in kinds.values()
        for place in places
    )
    return Table(
        id=f"aggregates-{evaluation}",
        title=f"{EVALUATION_NAMES[evaluation]}: over all data sets",
        corner="Method",
        columns=columns,
        rows=tuple(rows),
        note="Agarwal et al. 2021. Mean rank: 1 is best. Interquartile mean: of the middle half of all runs, "
        "scaled so that 0 is chance and 1 is perfect; its interval, and that of the probability that a run "
        "beats a run of the baseline, resample seeds within each data set. A method that lacks one result "
        "has no aggregate, and the others are ranked without it.",
        evaluation=evaluation,
        metric="primary",
    )


def efficiency_table(scope: Scope, evaluation: str) -> Table:
    """What labels are worth: the area under the curve, and the labels that a method saves."""
    view, rows = scope.view, []
    for method in view.methods:
        entries: list[Entry] = []
        for dataset in scope.datasets:
            record = view.efficiency.get((dataset, evaluation, method))
            if record is None or pd.isna(record["area"]):
                reason = record["reason"] if record else "no result yet"
                entries += [Entry("–", hole=True, title=reason)] * 2
            else:
                small = (span(record["area_low"], record["area_high"]),)
                entries += [Entry(number(record["area"]), small), _saved(record)]
        rows.append(replace(view.head(method, scope.root), entries=tuple(entries)))
    columns = [
        column
        for dataset in scope.datasets
        for column in (
            Column("area", "under the curve", group=dataset, dataset=dataset),
            Column("labels saved", "to match no pretraining", group=dataset, dataset=dataset),
        )
    ]
    return Table(
        id=f"efficiency-{evaluation}",
        title=f"{EVALUATION_NAMES[evaluation]}: label efficiency",
        corner="Method",
        columns=tuple(columns),
        rows=tuple(rows),
        note="Area: mean of the primary metric over the log axis of label shares. Labels saved: how many "
        "fewer labels are enough to match the untrained encoder fine-tuned on all of them, read off the "
        "curve between two fractions; in brackets the share of the resamples of test patients that reach it.",
    )


def _saved(record: Record) -> Entry:
    if not record["reached"]:
        return Entry("–", hole=True, title=record["reason"])
    reached = (f"({percent(round(record['reached_share'], 2))} of resamples)",)
    if record["reached"] == "not reached":
        return Entry("not reached", reached)
    saved = record["labels_saved"]
    prefix = "at least " if record["reached"] == "at the smallest" else ""
    images = record["images_saved"]
    small: tuple[str, ...] = reached if pd.isna(images) else (f"{images:,} images", *reached)
    return Entry(f"{prefix}{percent(round(saved, 3))}", small)
