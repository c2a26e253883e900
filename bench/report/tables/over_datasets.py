"""The tables over data sets and over label sets: aggregates, and what labels are worth."""

from dataclasses import replace

import pandas as pd

from bench.analysis.aggregates import LEAST_COLUMNS, LEAST_DATASETS
from bench.report.layout import EVALUATION_NAMES, Aggregate, Column, Entry, Table, number, percent, span
from bench.report.material.label_counts import drawn_over
from bench.report.material.wording import covered_by
from bench.report.tables.comparisons import Scope, aggregate_entry, place_name, places_of
from bench.report.view import Record
from bench.summary.over_seeds import too_few_seeds
from imssl.settings.labels import LabelSet


def aggregate_table(scope: Scope, evaluation: str) -> Table:
    """Every method over all data sets: mean rank, interquartile mean and probability of improvement."""
    view, baseline = scope.view, scope.view.summary.protocol.report.baseline
    places = [*places_of(scope, evaluation), (None, None)]
    kinds: dict[Aggregate, str] = {
        "mean_rank": "Mean rank",
        "iqm": "Interquartile mean",
        "improvement": f"P(better than {baseline})",
    }
    rows = []
    for method in view.ordered(evaluation):
        entries = [
            aggregate_entry(view, (evaluation, *place, method), kind) for kind in kinds for place in places
        ]
        rows.append(replace(view.head(method, scope.root), entries=tuple(entries)))
    columns = tuple(
        Column(
            place_name(place) or "all",
            counts_over(scope, evaluation, place[0]),
            group=heading,
            labels="" if place[0] is None else place[0].id,
            place=f"block-{place[1]}" if place[1] else "",
            lower_is_better=kind == "mean_rank",
            aggregate=kind,
        )
        for kind, heading in kinds.items()
        for place in places
    )
    return Table(
        id=f"aggregates-{evaluation}",
        title=f"{EVALUATION_NAMES[evaluation]}: over all data sets",
        corner="Method",
        columns=columns,
        rows=tuple(rows),
        note="Agarwal et al. 2021. Mean rank: 1 is best. Interquartile mean: of the middle half of all runs, "
        "scaled so that 0 is chance and 1 is perfect. Intervals are over patients and seeds; below "
        f"{view.summary.protocol.report.least_seeds} seeds, and for the interquartile mean over fewer than "
        f"{LEAST_COLUMNS} columns or {LEAST_DATASETS} data sets, there is none that holds. Nor is there one "
        "for the probability that a run beats a run of the baseline: with a handful of seeds no interval "
        "covers what it says. A method "
        "that lacks one result has no aggregate, and the others are ranked without it. Another "
        "method in the run changes ranks and their intervals, and nothing else here. Below a label set stand "
        "the labels drawn for it, training + validation images, from the smallest data set to the "
        "largest.",
        evaluation=evaluation,
        metric="primary",
    )


def counts_over(scope: Scope, evaluation: str, labels: LabelSet | None) -> str:
    """The labels drawn for a label set, from the smallest data set to the largest; empty where unknown."""
    drawn = drawn_over(scope.view.summary, scope.datasets, evaluation, labels)
    return drawn.counts if drawn else ""


def efficiency_table(scope: Scope, evaluation: str) -> Table:
    """What labels are worth: the area under the curve, and the labels that a method saves."""
    view, rows = scope.view, []
    settings, seeds = view.summary.protocol.report, len(view.summary.protocol.seeds)
    few = too_few_seeds(seeds, settings.least_seeds) if seeds < settings.least_seeds else ""
    for method in view.methods:
        entries: list[Entry] = []
        for dataset in scope.datasets:
            record = view.efficiency.get((dataset, evaluation, method))
            if record is None or pd.isna(record["area"]):
                reason = record["reason"] if record else "no result yet"
                entries += [Entry("–", hole=True, title=reason)] * 2
            else:
                small = (span(record["area_low"], record["area_high"]),)
                entries += [Entry(number(record["area"]), small), _saved(record, few)]
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
        note=_efficiency_note(seeds, few),
    )


def _efficiency_note(seeds: int, few: str) -> str:
    note = (
        "Area: mean of the primary metric over the log axis of the labels drawn, "
        f"{covered_by(seeds)}. Labels saved: the lower end of an interval over patients and seeds, shown "
        "where it is above 0: at least so many fewer labels, those of validation counted, match the stronger "
        "encoder without pretraining that has all of them."
    )
    return f"{note} {few}" if few else note


def _saved(record: Record, few: str) -> Entry:
    """Labels that are saved beyond doubt, or why none are shown; ``few`` says if seeds are too few."""
    if not record["reached"] or few:
        return Entry("–", hole=True, title=record["reason"] or few)
    if pd.isna(record["images_saved"]):
        reached = percent(round(record["reached_share"], 2))
        return Entry("none shown", (f"reached in {reached} of resamples",))
    counted = f"{record['images_saved']:,} of {number(record['labels_all'], 0)} labels"
    return Entry(f"at least {percent(round(record['labels_saved_low'], 3))}", (counted,))
