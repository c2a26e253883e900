"""The page of one data set: what it is, what the encoder saw, and every result on it."""

from typing import Any

from bench.report.layout import EVALUATION_NAMES, KERNEL_NAMES, METRIC_NAMES
from bench.report.pages.background import data_card
from bench.report.pages.dataset_parts import DatasetCharts, chart_tables
from bench.report.tables.comparisons import Scope, difference_table, score_table
from bench.report.tables.other_metrics import class_precision_tables, other_metric_tables
from bench.report.view import View


def dataset_context(
    view: View, dataset: str, charts: DatasetCharts, details: dict[str, Any], root: str
) -> dict[str, Any]:
    """What dataset.html places besides the frame of all pages.

    Args:
        view: the run.
        dataset: id.
        charts: of the data set.
        details: of all cells, see bench.report.pages.details.
        root: of the reports, as seen from the page.
    """
    scope = Scope(view, (dataset,), root)
    card = view.summary.results.cards.get(dataset)
    task = f"{card.task}, judged by {METRIC_NAMES[card.primary_metric]}" if card else "not prepared yet"
    numbers = chart_tables(view, dataset, view.methods)
    return {
        "root": root,
        "dataset": dataset,
        "task": task,
        "card": data_card(dataset, view.summary.results),
        "strips": charts.samples,
        "evaluations": [
            {
                "name": name,
                "scores": score_table(scope, evaluation),
                "differences": difference_table(scope, evaluation),
                "others": other_metric_tables(scope, evaluation) + class_precision_tables(scope, evaluation),
            }
            for evaluation, name in EVALUATION_NAMES.items()
        ],
        "efficiency": list(charts.efficiency.values()),
        "probe": charts.probe,
        "cka": [
            (words, [figure for (kernel, _), figure in charts.cka.items() if kernel == name])
            for name, words in KERNEL_NAMES.items()
        ],
        "cka_numbers": numbers.cka,
        "ks": charts.ks,
        "outputs": charts.outputs,
        "ks_numbers": [numbers.ks, *charts.outputs_numbers],
        "reliability": charts.reliability,
        "reliability_numbers": charts.reliability_numbers,
        "curves": charts.curves,
        "curve_numbers": numbers.curves,
        "cost": charts.cost,
        "cost_numbers": [numbers.cost],
        "details": details
        | {
            "cells": {name: {dataset: own.get(dataset, {})} for name, own in details["cells"].items()},
            "datasets": {dataset: details["datasets"][dataset]},
        },
    }
