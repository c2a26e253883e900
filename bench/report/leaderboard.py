"""The one entry to the report: from a protocol and what lies on disk to the files below reports/."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.analyse import analyse
from bench.analysis.document import results_document, write_document
from bench.protocol import Protocol
from bench.report import background, charts, tables
from bench.report.layout import METRIC_NAMES, Figure, Table, listed, method_styles
from bench.report.page import render
from bench.report.plot_tables import write_plot_tables
from bench.report.read import read_results
from bench.report.summary import Summary, summarise
from bench.results import REPORTS, write_json, write_table, write_text

LEADERBOARD = REPORTS / "leaderboard.html"
RESULTS_TABLE = REPORTS / "results.csv"
METRICS = REPORTS / "metrics.json"
DOCUMENT = REPORTS / "results.json"


@dataclass(frozen=True)
class Curve:
    """A quantity of pretraining, drawn and in numbers."""

    figure: Figure | None
    table: Table


@dataclass(frozen=True)
class Cka:
    """CKA with one kernel, drawn for each label fraction and in numbers."""

    name: str
    figures: list[Figure]
    table: Table


@dataclass(frozen=True)
class DatasetPart:
    """What the page says about one data set, in the order of its sections."""

    name: str
    task: str
    main_tables: list[Table]
    secondary_tables: list[Table]
    efficiency: list[Figure]
    probe_table: Table
    probe_chart: Figure | None
    cka: list[Cka]
    ks_table: Table
    ks_class_table: Table | None
    curves: list[Curve]
    cost_table: Table


def write_reports(protocol: Protocol) -> Path:
    """Write the leaderboard, the tidy table of all results and the short metrics for ``dvc metrics show``.

    Cells that are missing, failed, stale or damaged show as holes; nothing is averaged over them. Equal
    results give equal files.

    Returns:
        The leaderboard's file.
    """
    summary = summarise(protocol, read_results(protocol))
    write_table(RESULTS_TABLE, summary.results.table)
    write_json(METRICS, short_metrics(summary))
    write_document(DOCUMENT, results_document(summary, analyse(summary)))
    write_plot_tables(summary)
    write_text(LEADERBOARD, render(page_context(summary)))
    return LEADERBOARD


def short_metrics(summary: Summary) -> dict[str, dict[str, dict[str, float]]]:
    """Means of the primary metrics: data set, method, then ``finetune 0.01``, ``probe block 4`` and so on."""
    short: dict[str, dict[str, dict[str, float]]] = {}
    for name in summary.measured:
        mean = summary.mean(name)
        wanted = name.evaluation in ("finetune", "frozen", "probe") and name.class_name == ""
        if wanted and mean is not None and name.metric == summary.primary(name.dataset):
            place = f"block {name.block}" if name.evaluation == "probe" else f"{name.fraction:g}"
            place = f"{name.evaluation} {place}"
            short.setdefault(name.dataset, {}).setdefault(name.method, {})[place] = round(mean, 6)
    return short


def page_context(summary: Summary) -> dict[str, Any]:
    """Everything that the template places."""
    protocol, results = summary.protocol, summary.results
    synthetic = background.synthetic_datasets(protocol, results)
    return {
        "profile": protocol.profile,
        "introduction": background.introduction(protocol),
        "synthetic": listed(synthetic) if synthetic else "",
        "synthetic_count": len(synthetic),
        "warnings": background.warnings(protocol, results),
        "completeness": background.completeness(results),
        "holes": background.holes(results),
        "styles": list(method_styles(list(protocol.methods)).values()),
        "datasets": [_dataset_part(summary, dataset) for dataset in protocol.datasets],
        "cards": background.data_cards(protocol, results),
        "protocol_sections": background.protocol_sections(protocol),
        "provenance": background.provenance_table(results),
        "chart_config": charts.CONFIG,
    }


def _dataset_part(summary: Summary, dataset: str) -> DatasetPart:
    card = summary.results.cards.get(dataset)
    task = f"{card.task}, {METRIC_NAMES[card.primary_metric]}" if card else "not prepared yet"
    return DatasetPart(
        name=dataset,
        task=task,
        main_tables=tables.main_tables(summary, dataset),
        secondary_tables=tables.secondary_tables(summary, dataset),
        efficiency=charts.label_efficiency(summary, dataset),
        probe_table=tables.probe_table(summary, dataset),
        probe_chart=charts.probing_profile(summary, dataset),
        cka=[
            Cka(name, charts.cka_charts(summary, dataset, kernel), tables.cka_table(summary, dataset, kernel))
            for kernel, name in tables.KERNEL_NAMES.items()
        ],
        ks_table=tables.ks_table(summary, dataset),
        ks_class_table=tables.ks_class_table(summary, dataset),
        curves=[
            Curve(
                charts.curve_chart(summary, dataset, quantity, title, axis),
                tables.curve_table(summary, dataset, quantity, title),
            )
            for quantity, title, axis in _quantities(summary, dataset)
        ],
        cost_table=tables.cost_table(summary, dataset),
    )


def _quantities(summary: Summary, dataset: str) -> list[tuple[str, str, str]]:
    """The loss and the kNN score, whatever metric that score is, where recorded: column, title, axis."""
    scores = [
        (f"knn_{metric}", f"nearest-neighbour {name} on validation images", name)
        for metric, name in METRIC_NAMES.items()
    ]
    return [names for names in [("loss", "loss", "loss"), *scores] if summary.curve(dataset, names[0])]
