"""The one entry to the report: from a protocol and what lies on disk to the files below reports/."""

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from altair.utils.schemapi import debug_mode
from threadpoolctl import threadpool_limits

from bench.analysis.analyse import analyse
from bench.analysis.document import results_document, write_document
from bench.cells.files import REPORTS, write_json, write_table
from bench.machine.workers import side_by_side
from bench.protocol.protocol import Protocol
from bench.report.charts.plot_tables import write_plot_tables
from bench.report.charts.vega import chart_script
from bench.report.entries import styles_of
from bench.report.layout import BY_FRACTION, EVALUATION_NAMES, METRIC_NAMES, Figure, listed, percent
from bench.report.page import render
from bench.report.pages import background
from bench.report.pages.dataset_page import dataset_context
from bench.report.pages.dataset_parts import DatasetCharts, chart_tables, dataset_charts
from bench.report.pages.details import cell_details
from bench.report.pages.headline import headline
from bench.report.pages.method_page import method_context, own_curves
from bench.report.tables.comparisons import Scope, difference_table, score_table
from bench.report.tables.other_metrics import other_metric_tables
from bench.report.tables.over_datasets import aggregate_table, efficiency_table
from bench.report.tables.paper_tables import claim_table, differences_counted, ledger_table
from bench.report.view import View, view_of
from bench.summary.read import read_results, synthetic_datasets
from bench.summary.summary import Summary, summarise
from imssl.durable import write_text

LEADERBOARD = REPORTS / "leaderboard.html"
RESULTS_TABLE = REPORTS / "results.csv"
METRICS = REPORTS / "metrics.json"
DOCUMENT = REPORTS / "results.json"
METHODS = REPORTS / "methods"
DATASETS = REPORTS / "datasets"


def write_reports(protocol: Protocol) -> Path:
    """Write the pages, the tidy table of all results and the short metrics for ``dvc metrics show``.

    Cells that are missing, failed, stale or damaged show as holes; nothing is averaged over them. Equal
    results give equal files. The page of a method or data set that is no longer in the protocol is removed.

    Returns:
        The leaderboard's file.
    """
    # BLAS on one thread: the data sets and pages are side by side already, and its threads would wait for
    # one another.
    with _without_collector(), threadpool_limits(1, user_api="blas"):
        summary = summarise(protocol, read_results(protocol))
        analysis = analyse(summary)
        files: list[Callable[[], object]] = [
            lambda: write_document(DOCUMENT, results_document(summary, analysis)),
            lambda: write_table(RESULTS_TABLE, summary.results.table),
            lambda: write_json(METRICS, short_metrics(summary)),
            lambda: write_plot_tables(summary),
        ]
        side_by_side(pages(view_of(summary, analysis)) + files)
    _remove_others(METHODS, list(protocol.methods))
    _remove_others(DATASETS, list(protocol.datasets))
    return LEADERBOARD


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Look for no cycles meanwhile: millions of small things live to the end, and none would be freed."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def pages(view: View) -> list[Callable[[], None]]:
    """Tasks that write the leaderboard and a page for each method and data set."""
    protocol = view.summary.protocol
    # Checking every part of every chart against Vega-Lite's schema takes longer than drawing them.
    with debug_mode(False):
        charts = {dataset: dataset_charts(view, dataset) for dataset in protocol.datasets}
    details = cell_details(view.summary)
    synthetic = synthetic_datasets(protocol, view.summary.results)
    frame = {
        "profile": protocol.profile,
        "synthetic": listed(synthetic),
        "synthetic_count": len(synthetic),
        "styles": [styles_of(view.summary)[name] for name in view.drawn],
        "methods": list(protocol.methods),
        "datasets": list(protocol.datasets),
    }
    chart_script()  # once, and not in each of the processes that write the pages

    def leaderboard() -> None:
        context = leaderboard_context(view, charts) | {"details": details}
        write_text(LEADERBOARD, render("leaderboard.html", frame | context))

    def of_method(method: str) -> None:
        with debug_mode(False):
            context = method_context(view, method, own_curves(view, method), details, "../")
        write_text(METHODS / f"{method}.html", render("method.html", frame | context))

    def of_dataset(dataset: str) -> None:
        context = dataset_context(view, dataset, charts[dataset], details, "../")
        write_text(DATASETS / f"{dataset}.html", render("dataset.html", frame | context))

    return [
        leaderboard,
        *(partial(of_dataset, dataset) for dataset in protocol.datasets),
        *(partial(of_method, method) for method in protocol.methods),
    ]


def short_metrics(summary: Summary) -> dict[str, dict[str, dict[str, float]]]:
    """Means of the primary metrics: data set, method, then ``finetune 0.01``, ``probe block 4`` and so on."""
    short: dict[str, dict[str, dict[str, float]]] = {}
    for name in summary.measured:
        mean = summary.mean(name)
        wanted = name.evaluation in EVALUATION_NAMES and name.class_name == ""
        if wanted and mean is not None and name.metric == summary.primary(name.dataset):
            place = f"block {name.block}" if name.evaluation == "probe" else f"{name.fraction:g}"
            place = f"{name.evaluation} {place}"
            short.setdefault(name.dataset, {}).setdefault(name.method, {})[place] = round(mean, 6)
    return short


def leaderboard_context(view: View, charts: dict[str, DatasetCharts]) -> dict[str, Any]:
    """What leaderboard.html places besides the frame of all pages."""
    summary = view.summary
    protocol, results = summary.protocol, summary.results
    scope = Scope(view, tuple(protocol.datasets), "")
    fraction = protocol.label_fractions[0]
    parts = list(charts.values())
    numbers = [chart_tables(view, dataset, view.drawn) for dataset in protocol.datasets]
    evaluations: list[dict[str, Any]] = [
        {
            "id": evaluation,
            "name": name,
            "scores": score_table(scope, evaluation),
            "differences": difference_table(scope, evaluation),
            "aggregates": aggregate_table(scope, evaluation),
            "others": other_metric_tables(scope, evaluation),
        }
        for evaluation, name in EVALUATION_NAMES.items()
    ]
    return {
        "root": "",
        "introduction": background.introduction(protocol),
        "headline": headline(view),
        "warnings": background.warnings(protocol, results),
        "completeness": background.completeness(results),
        "holes": background.holes(results),
        "evaluations": evaluations,
        "evaluation_names": EVALUATION_NAMES,
        "fractions": [(f"{share:g}", percent(share)) for share in protocol.label_fractions],
        "claims": claim_table(view.analysis.claims, view.analysis.claim_effects, protocol.report.level),
        "ledger": ledger_table(view.analysis.ledger),
        "ledger_words": differences_counted(view.analysis.ledger),
        "metrics": _metrics_shown(evaluations),
        "efficiency_tables": [efficiency_table(scope, name) for name in BY_FRACTION],
        "efficiency": [part.efficiency["finetune"] for part in parts if "finetune" in part.efficiency],
        "probe": _all(part.probe for part in parts),
        "probe_numbers": [tables.probe for tables in numbers],
        "cka": [part.cka["linear", fraction] for part in parts if ("linear", fraction) in part.cka],
        "cka_numbers": [tables.cka[0] for tables in numbers],
        "ks": _all(part.ks for part in parts),
        "outputs": _all(part.outputs for part in parts),
        "ks_numbers": [tables.ks for tables in numbers]
        + [table for part in parts for table in part.outputs_numbers],
        "curves": _all(part.curves[:1] for part in parts) + _all(part.curves[1:] for part in parts),
        "curve_numbers": [table for tables in numbers for table in tables.curves],
        "cost": _all(part.cost for part in parts),
        "cost_numbers": [tables.cost for tables in numbers],
        "strips": [strip for part in parts for strip in part.samples],
        "smallest": percent(fraction),
        "cards": background.data_cards(protocol, results),
        "protocol_sections": background.protocol_sections(protocol),
        "provenance": background.provenance_table(results),
        "tuning": background.tuning_words(protocol),
    }


def _metrics_shown(evaluations: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The metrics that have tables of their own: id and name."""
    shown = {table.metric for evaluation in evaluations for table in evaluation["others"]}
    return [(metric, name) for metric, name in METRIC_NAMES.items() if metric in shown]


def _all(groups: Iterable[Sequence[Figure]]) -> list[Figure]:
    return [figure for group in groups for figure in group]


def _remove_others(folder: Path, names: list[str]) -> None:
    for file in folder.glob("*.html"):
        if file.stem not in names:
            file.unlink()
