"""The page of one data set: what it is, what the encoder saw, and every result on it."""

from typing import Any

from bench.report.layout import EVALUATION_NAMES, KERNEL_NAMES, METRIC_NAMES
from bench.report.material.tested_runs import tested_runs
from bench.report.pages.background import data_card
from bench.report.pages.dataset_parts import DatasetCharts, chart_tables
from bench.report.tables.by_class import class_tables
from bench.report.tables.comparisons import Scope, difference_table, score_table, untrained_table
from bench.report.tables.image_table import image_table
from bench.report.tables.other_metrics import class_precision_tables, other_metric_tables
from bench.report.tables.subgroups import subgroup_tables
from bench.report.view import View
from bench.summary.summary import synthetic_datasets


def dataset_context(
    view: View,
    dataset: str,
    charts: DatasetCharts,
    details: dict[str, Any],
    root: str,
    shows_images: bool,
) -> dict[str, Any]:
    """What dataset.html places besides the frame of all pages.

    Args:
        view: the run.
        dataset: id.
        charts: of the data set.
        details: of all cells, see bench.report.pages.details.
        root: of the reports, as seen from the page.
        shows_images: whether test images may be shown at all.
    """
    scope = Scope(view, (dataset,), root)
    card = view.summary.results.cards.get(dataset)
    task = f"{card.task}, judged by {METRIC_NAMES[card.primary_metric]}" if card else "not prepared yet"
    numbers = chart_tables(view, dataset, view.methods)
    runs, settings = tested_runs(view.summary, dataset, view.methods), view.summary.protocol.report
    return {
        "root": root,
        "dataset": dataset,
        "task": task,
        "is_synthetic": dataset in synthetic_datasets(view.summary.protocol, view.summary.results),
        "card": data_card(dataset, view.summary.results),
        "strips": charts.samples,
        "evaluations": [
            {
                "name": name,
                "scores": score_table(scope, evaluation),
                "differences": difference_table(scope, evaluation),
                "untrained": untrained_table(scope, evaluation),
                "others": other_metric_tables(scope, evaluation) + class_precision_tables(scope, evaluation),
            }
            for evaluation, name in EVALUATION_NAMES.items()
        ],
        "subgroups": subgroup_tables(scope),
        "test_images": image_table(runs, settings.thumbnails, shows_images) if runs else None,
        "by_class": class_tables(runs, settings.level) if runs else [],
        "efficiency": list(charts.efficiency.values()),
        "probe": charts.probe,
        "probe_numbers": numbers.probe,
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
            "root": root,
            "cells": {name: {dataset: own.get(dataset, {})} for name, own in details["cells"].items()},
            "datasets": {dataset: details["datasets"][dataset]},
        },
    }
