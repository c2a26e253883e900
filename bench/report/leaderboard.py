"""The one entry to the report: from a protocol and what lies on disk to the files below reports/."""

import contextlib
import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from altair.utils.schemapi import debug_mode
from threadpoolctl import threadpool_limits

from bench.analysis.document import results_document, write_document
from bench.cells.files import REPORTS, write_table
from bench.cells.store.last_checks import LastCheck
from bench.machine.workers import side_by_side
from bench.protocol.protocol import Protocol
from bench.report.answer.headline import headline
from bench.report.answer.run_facts import (
    PAPER,
    PAPER_CODE,
    are_all_synthetic,
    banner,
    documentation_beside,
    last_computed,
    project_links,
    suite_version,
)
from bench.report.answer.score_parts import score_parts
from bench.report.charts.plot_tables import write_plot_tables, write_plots_page, write_short_metrics
from bench.report.charts.vega import chart_script
from bench.report.entries import styles_of
from bench.report.layout import BY_LABEL_SET, EVALUATION_NAMES, METRIC_NAMES, Figure, listed
from bench.report.material.label_counts import name_with_counts, words_with_counts
from bench.report.page import render
from bench.report.pages import background
from bench.report.pages.checks_panel import checks_panel, standing_checks
from bench.report.pages.dataset_page import dataset_context
from bench.report.pages.dataset_parts import DatasetCharts, chart_tables, dataset_charts
from bench.report.pages.details import cell_details
from bench.report.pages.method_page import method_context, own_curves
from bench.report.pages.row_remarks import departure_words, origins_that_differ
from bench.report.tables.comparisons import Scope, difference_table, score_table, untrained_table
from bench.report.tables.other_metrics import other_metric_tables
from bench.report.tables.over_datasets import aggregate_table, efficiency_table
from bench.report.tables.paper_tables import claim_table, differences_counted, ledger_table
from bench.report.tables.standings import standings_table
from bench.report.view import View, view_of_results
from bench.summary.read import Place, laid_out, read_results
from bench.summary.summary import Summary, synthetic_datasets
from imssl.durable import write_text

LEADERBOARD = REPORTS / "leaderboard.html"
RESULTS_TABLE = REPORTS / "results.csv"
DOCUMENT = REPORTS / "results.json"
METHODS = REPORTS / "methods"
DATASETS = REPORTS / "datasets"

# Of the leaderboard: id and name of every section, and of its parts.
Part = tuple[str, str]
CONTENTS: list[tuple[str, str, list[Part]]] = [
    (
        "who-wins",
        "1. Who wins, and is it real?",
        [("standings", "Mean score"), ("label-efficiency", "Label efficiency"), *EVALUATION_NAMES.items()],
    ),
    ("paper", "2. Does the paper reproduce?", []),
    (
        "why",
        "3. Why?",
        [
            ("probes", "Probing profile"),
            ("feature-reuse", "Feature reuse"),
            ("stability", "Stability of outputs"),
            ("pretraining-curves", "Pretraining curves"),
            ("cost", "Cost against quality"),
            ("encoder-saw", "What the encoder saw"),
        ],
    ),
    ("trust", "4. Can I trust it?", []),
    ("glossary", "Glossary", []),
]


def write_reports(
    protocol: Protocol,
    place: Place = laid_out,
    checks: Sequence[LastCheck] = (),
    documentation: str | None = None,
) -> Path:
    """Write the pages, the tidy table of all results and what DVC shows of them.

    Cells that are missing, failed, stale or damaged show as holes; nothing is averaged over them. Equal
    results give equal files. The page of a method or data set that is no longer in the protocol is removed.

    Args:
        protocol: whose results.
        place: where each cell is looked for.
        checks: what verbs have last found, for the leaderboard to show.
        documentation: address that the pages link; that of this checkout where it is not given.

    Returns:
        The leaderboard's file.
    """
    with _without_collector():
        return write_view(view_of_results(protocol, read_results(protocol, place)), checks, documentation)


def write_view(view: View, checks: Sequence[LastCheck] = (), documentation: str | None = None) -> Path:
    """Write the reports of a run that is read and analysed; see write_reports."""
    summary = view.summary
    protocol = summary.protocol
    # As in view_of_results: the pages are side by side.
    with _without_collector(), threadpool_limits(1, user_api="blas"):
        files: list[Callable[[], object]] = [
            lambda: write_document(DOCUMENT, results_document(summary, view.analysis)),
            lambda: write_table(RESULTS_TABLE, summary.results.table),
            lambda: write_short_metrics(summary),
            lambda: write_plot_tables(summary),
            write_plots_page,
        ]
        side_by_side(pages(view, checks=checks, documentation=documentation) + files)
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


def pages(
    view: View,
    folder: Path = REPORTS,
    without_images: Collection[str] = (),
    checks: Sequence[LastCheck] = (),
    documentation: str | None = None,
    studies: Mapping[str, str] | None = None,
    tables: Sequence[str] = (RESULTS_TABLE.name, DOCUMENT.name),
) -> list[Callable[[], None]]:
    """Tasks that write the leaderboard and a page for each method and data set.

    Args:
        view: what they show.
        folder: that they go to.
        without_images: data sets of which no images are shown.
        checks: what verbs have last found, for the leaderboard to show.
        documentation: address that the pages link; that of this checkout where it is not given.
        studies: by method the published study that its cells are of, where they are of one.
        tables: names of the results' table and document beside the leaderboard; none where there are none.
    """
    protocol = view.summary.protocol
    # Checking every part of every chart against Vega-Lite's schema takes longer than drawing them.
    with debug_mode(False):
        drawing = [partial(dataset_charts, view, dataset) for dataset in protocol.datasets]
        parts: list[Any] = side_by_side([partial(cell_details, view.summary), *drawing])
    details = parts[0] | {"studies": dict(studies or {})}
    charts: dict[str, DatasetCharts] = dict(zip(protocol.datasets, parts[1:], strict=True))
    for dataset in without_images:
        charts[dataset] = replace(charts[dataset], samples=[])
    synthetic = synthetic_datasets(protocol, view.summary.results)
    frame = {
        "profile": protocol.profile,
        "version": suite_version(),
        "computed": last_computed(view.summary.results),
        "synthetic": listed(synthetic),
        "synthetic_count": len(synthetic),
        "banner": banner(protocol, view.summary.results, tuple(protocol.datasets)),
        "styles": [styles_of(view.summary)[name] for name in view.drawn],
        "looks": _looks(view),
        "documentation": documentation_beside(folder) if documentation is None else documentation,
        "methods": list(protocol.methods),
        "datasets": list(protocol.datasets),
        "tables": list(tables),
    }
    chart_script()  # once, and not in each of the processes that write the pages

    def leaderboard() -> None:
        context = leaderboard_context(view, charts, checks) | {"details": details | {"root": ""}}
        write_text(folder / LEADERBOARD.name, render("leaderboard.html", frame | context))

    def of_method(method: str) -> None:
        with debug_mode(False):
            context = method_context(view, method, own_curves(view, method), details, "../")
        write_text(folder / METHODS.name / f"{method}.html", render("method.html", frame | context))

    def of_dataset(dataset: str) -> None:
        shows_images = dataset not in without_images
        context = dataset_context(view, dataset, charts[dataset], details, "../", shows_images)
        write_text(folder / DATASETS.name / f"{dataset}.html", render("dataset.html", frame | context))

    return [
        leaderboard,
        *(partial(of_dataset, dataset) for dataset in protocol.datasets),
        *(partial(of_method, method) for method in protocol.methods),
    ]


def leaderboard_context(
    view: View, charts: dict[str, DatasetCharts], checks: Sequence[LastCheck]
) -> dict[str, Any]:
    """What leaderboard.html places besides the frame of all pages."""
    summary = view.summary
    protocol, results = summary.protocol, summary.results
    scope = Scope(view, tuple(protocol.datasets), "")
    smallest = protocol.label_shares[0]
    parts = list(charts.values())
    numbers = [chart_tables(view, dataset, view.methods) for dataset in protocol.datasets]
    evaluations: list[dict[str, Any]] = [
        {
            "id": evaluation,
            "name": name,
            "scores": score_table(scope, evaluation),
            "differences": difference_table(scope, evaluation),
            "untrained": untrained_table(scope, evaluation),
            "aggregates": aggregate_table(scope, evaluation),
            "others": other_metric_tables(scope, evaluation),
        }
        for evaluation, name in EVALUATION_NAMES.items()
    ]
    return {
        "root": "",
        "paper": PAPER,
        "paper_code": PAPER_CODE,
        "project_links": project_links(),
        "all_synthetic": are_all_synthetic(protocol, results),
        "baseline": protocol.report.baseline,
        "contents": CONTENTS,
        "standings": standings_table(scope),
        "score_parts": score_parts(view),
        "introduction": background.introduction(protocol),
        "headline": headline(view),
        "warnings": background.warnings(view) + origins_that_differ(protocol),
        "completeness": background.completeness(results),
        "holes": background.holes(results),
        "evaluations": evaluations,
        "evaluation_names": EVALUATION_NAMES,
        "label_sets": [
            (labels.id, name_with_counts(summary, scope.datasets, labels)) for labels in protocol.label_sets
        ],
        "claims": claim_table(view.analysis.claims, view.analysis.claim_effects, protocol.report.level),
        "ledger": ledger_table(view.analysis.ledger),
        "ledger_words": differences_counted(view.analysis.ledger),
        "metrics": _metrics_shown(summary, evaluations),
        "efficiency_tables": [efficiency_table(scope, name) for name in BY_LABEL_SET],
        "efficiency": [part.efficiency["finetune"] for part in parts if "finetune" in part.efficiency],
        "probe": _all(part.probe for part in parts),
        "probe_numbers": [tables.probe for tables in numbers],
        "cka": [part.cka["linear", smallest] for part in parts if ("linear", smallest) in part.cka],
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
        "smallest": words_with_counts(summary, scope.datasets, smallest),
        "cards": background.data_cards(protocol, results),
        "protocol_sections": background.protocol_sections(protocol),
        "last_checks": checks_panel(summary, checks),
        "standing_checks": standing_checks(summary),
        "provenance": background.provenance_table(results),
        "tuning": background.tuning_words(view),
        "departures": departure_words(protocol),
    }


def _looks(view: View) -> dict[str, Any]:
    """What the script draws and counts by: methods, the best first, with their looks, and label sets."""
    styles = styles_of(view.summary)
    return {
        "methods": [[name, styles[name].place, styles[name].shape] for name in view.methods],
        "drawn_first": view.drawn_first,
        "label_sets": [labels.id for labels in view.summary.protocol.label_sets],
    }


def _metrics_shown(summary: Summary, evaluations: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The metrics that are the primary one of a data set, or have tables of their own: id and name."""
    shown = {table.metric for evaluation in evaluations for table in evaluation["others"]}
    shown |= {summary.primary(dataset) for dataset in summary.protocol.datasets}
    return [(metric, name) for metric, name in METRIC_NAMES.items() if metric in shown]


def _all(groups: Iterable[Sequence[Figure]]) -> list[Figure]:
    return [figure for group in groups for figure in group]


def _remove_others(folder: Path, names: list[str]) -> None:
    for file in folder.glob("*.html"):
        if file.stem not in names:
            file.unlink()
