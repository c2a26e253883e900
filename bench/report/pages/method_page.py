"""The page of one method: where it stands, its parameters, and every run behind its numbers."""

from dataclasses import dataclass, replace
from typing import Any

from bench.protocol.protocol import Protocol
from bench.protocol.registry import method_file
from bench.report.charts.curve_charts import curve_chart
from bench.report.entries import quantities, styles_of
from bench.report.layout import EVALUATION_NAMES, METRIC_NAMES, Column, Entry, Figure, Row, Table, number
from bench.report.pages.background import check_sentence, tuning_of_method
from bench.report.pages.details import KEY_LENGTH, origin_words
from bench.report.pages.method_parts import (
    check_results,
    costs_table,
    settings_table,
    trials_table,
    weights_table,
)
from bench.report.pages.method_source import MethodFile, method_source
from bench.report.pages.row_remarks import departures_of, origin_sentence
from bench.report.pages.settings import settings_of
from bench.report.tables.comparisons import Scope, difference_entry, place_name, places_of, score_entry
from bench.report.tables.over_datasets import counts_over
from bench.report.tables.per_dataset import curve_table
from bench.report.view import View
from bench.summary.read import CellState
from bench.summary.summary import Measurement
from imssl.errors import UserError


@dataclass(frozen=True)
class OwnCurves:
    """The training curves of a method beside the baseline's.

    Attributes:
        figures: one for each data set and quantity that has results.
        tables: their numbers.
    """

    figures: list[Figure]
    tables: list[Table]


def own_curves(view: View, method: str) -> OwnCurves:
    """Loss and kNN score of a method and the baseline on every data set."""
    summary, shown = view.summary, _beside_baseline(view, method)
    figures, tables = [], []
    for dataset in summary.protocol.datasets:
        for quantity, title, axis in quantities(summary, dataset):
            figure = curve_chart(summary, dataset, quantity, axis, shown)
            if figure:
                # That other methods are elsewhere goes without saying here.
                figures.append(replace(figure, note=""))
                tables.append(curve_table(summary, dataset, quantity, title, shown))
    return OwnCurves(figures, tables)


def _beside_baseline(view: View, method: str) -> list[str]:
    baseline = view.summary.protocol.report.baseline
    return [method] if method == baseline else [baseline, method]


def method_context(
    view: View, method: str, curves: OwnCurves, details: dict[str, Any], root: str
) -> dict[str, Any]:
    """What method.html places besides the frame of all pages.

    Args:
        view: the run.
        method: id.
        curves: from own_curves.
        details: of all cells, see bench.report.pages.details.
        root: of the reports, as seen from the page.
    """
    protocol = view.summary.protocol
    source = _source(method, protocol)
    return {
        "root": root,
        "method": method,
        "own_style": styles_of(view.summary)[method],
        "shown": [styles_of(view.summary)[name] for name in _beside_baseline(view, method)],
        "checks": check_sentence(method, protocol),
        "tuned": tuning_of_method(view, method),
        "origin": origin_sentence(method, protocol),
        "departures": departures_of(method, protocol),
        "standings": [_standing_table(view, method, name, root) for name in EVALUATION_NAMES],
        "curves": curves.figures,
        "curve_numbers": curves.tables,
        "source": source,
        "settings": settings_table(settings_of(method, protocol), source.meanings if source else {}),
        "check_results": check_results(method, protocol),
        "trials": trials_table(view.trials_of(method)),
        "weights": weights_table(view, method),
        "costs": costs_table(view, method),
        "runs": [_run_table(view, method, dataset) for dataset in protocol.datasets],
        "details": details | {"root": root, "cells": _own_cells(details["cells"], method)},
    }


def _source(method: str, protocol: Protocol) -> MethodFile | None:
    try:
        return method_source(method_file(method, protocol))
    except (UserError, OSError):  # what is wrong with it is said where its checks are
        return None


def _standing_table(view: View, method: str, evaluation: str, root: str) -> Table:
    """Primary metric, rank and difference to the baseline on each data set."""
    scope = Scope(view, tuple(view.summary.protocol.datasets), root)
    baseline, several = view.summary.protocol.report.baseline, view.several
    rows = []
    for dataset in scope.datasets:
        metric = view.summary.primary(dataset)
        entries = []
        for place in places_of(scope, evaluation):
            name = Measurement(dataset, method, evaluation, *place, "", metric)
            entry = score_entry(view, name, several)
            difference = difference_entry(view.differences, name)
            if method != baseline and not difference.hole:
                # With few seeds there is no p behind the interval.
                words = [f"{difference.text} to {baseline}", *difference.small[1:]]
                entry = replace(entry, small=(*entry.small, ", ".join(words)))
            entries.append(entry)
        label = f"{dataset}, {METRIC_NAMES[metric]}"
        rows.append(Row(label, tuple(entries), link=f"{root}datasets/{dataset}.html"))
    return Table(
        id=f"standing-{evaluation}",
        title=EVALUATION_NAMES[evaluation],
        corner="Data set",
        columns=tuple(
            Column(place_name(place), counts_over(scope, evaluation, place[0]))
            for place in places_of(scope, evaluation)
        ),
        rows=tuple(rows),
    )


def _run_table(view: View, method: str, dataset: str) -> Table:
    """Every cell of the method on a data set with its provenance."""
    rows = [
        Row(cell.title.replace(f" {dataset} {method}", ""), _run_entries(state), group="")
        for cell, state in view.summary.results.states_of(dataset, method)
    ]
    heads = ("status", "started (UTC)", "seconds", "commit", "working tree", "hardware", "key")
    return Table(
        id=f"runs-{dataset}",
        title=f"{dataset}: {len(rows):,} cells",
        corner="Cell",
        columns=tuple(Column(head, numeric=head == "seconds") for head in heads),
        rows=tuple(rows),
        note=f"Computed by: dvc repro <stage>@{dataset}-{method} (pretrain, finetune) or <stage>@{dataset}. "
        "Finished cells are kept in .bench/cells/<stage>/<key>; without that a cell is computed anew.",
    )


def _run_entries(state: CellState) -> tuple[Entry, ...]:
    status = Entry(state.status, hole=state.status != "done", title=state.reason, numeric=False)
    if state.record is None:
        return (status, *(Entry("–", numeric=False) for _ in range(6)))
    origin = state.record.provenance
    words = origin_words(origin)
    texts = (words["commit"], words["clean"], words["device"], state.record.key[:KEY_LENGTH])
    return (
        status,
        Entry(origin.started.replace("T", " ").removesuffix("+00:00"), numeric=False),
        Entry(number(origin.seconds, 1)),
        *(Entry(text, numeric=False) for text in texts),
    )


def _own_cells(cells: dict[str, Any], method: str) -> dict[str, Any]:
    """The part of the details that is about one method."""
    return {
        evaluation: {
            dataset: {method: methods[method]} for dataset, methods in datasets.items() if method in methods
        }
        for evaluation, datasets in cells.items()
    }
