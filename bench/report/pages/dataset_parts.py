"""What charts and tables say about one data set, gathered for the pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.charts import result_charts
from bench.report.charts.curve_charts import curve_chart, outputs_chart
from bench.report.charts.reliability_chart import reliability_chart
from bench.report.entries import quantities
from bench.report.layout import BY_LABEL_SET, KERNEL_NAMES, Figure, Table
from bench.report.material.output_distributions import outputs_of
from bench.report.material.reliability_diagrams import reliability_diagrams
from bench.report.material.sample_images import Strip, sample_strip
from bench.report.tables import per_dataset
from bench.report.view import View
from imssl.settings.labels import LabelSet


@dataclass(frozen=True)
class DatasetCharts:
    """The charts of one data set; what has no results is left out.

    Attributes:
        efficiency: primary metric by label set, by evaluation.
        probe: by block.
        cka: by kernel and label set.
        ks: by class.
        outputs: the distributions behind the KS distance.
        outputs_numbers: the same as a table.
        reliability: what was predicted against what came true, a diagram for each evaluation.
        reliability_numbers: the same as a table.
        curves: of pretraining.
        cost: against quality.
        samples: images and views.
    """

    efficiency: dict[str, Figure]
    probe: list[Figure]
    cka: dict[tuple[str, LabelSet], Figure]
    ks: list[Figure]
    outputs: list[Figure]
    outputs_numbers: list[Table]
    reliability: list[Figure]
    reliability_numbers: list[Table]
    curves: list[Figure]
    cost: list[Figure]
    samples: list[Strip]


@dataclass(frozen=True)
class ChartTables:
    """The numbers of the charts of one data set."""

    probe: Table
    cka: list[Table]
    ks: Table
    curves: list[Table]
    cost: Table


def dataset_charts(view: View, dataset: str) -> DatasetCharts:
    """Draw a data set's charts; the pages share them."""
    summary, methods = view.summary, view.drawn
    everyone = list(summary.protocol.methods)
    shown: dict[str, Sequence[str]] = {
        "methods": methods,
        "others": [name for name in everyone if name not in methods],
    }
    efficiency = {
        name: result_charts.label_efficiency(summary, dataset, name, **shown) for name in BY_LABEL_SET
    }
    cka = {
        (kernel, labels): result_charts.cka_chart(summary, dataset, kernel, labels, **shown)
        for kernel in KERNEL_NAMES
        for labels in summary.protocol.label_sets
    }
    outputs = outputs_of(summary, dataset, everyone)
    diagrams = {name: reliability_diagrams(summary, dataset, name, everyone) for name in BY_LABEL_SET}
    reliability = {
        name: reliability_chart(summary, dataset, name, of_methods, methods)
        for name, of_methods in diagrams.items()
    }
    curves = [
        curve_chart(summary, dataset, quantity, axis, **shown)
        for quantity, _, axis in quantities(summary, dataset)
    ]
    strip = sample_strip(dataset, summary.protocol)
    return DatasetCharts(
        efficiency={name: figure for name, figure in efficiency.items() if figure},
        probe=_present(result_charts.probing_profile(summary, dataset, **shown)),
        cka={key: figure for key, figure in cka.items() if figure},
        ks=_present(result_charts.ks_chart(summary, dataset, summary.protocol.label_shares[0], **shown)),
        outputs=_present(outputs_chart(summary, dataset, outputs, methods)),
        outputs_numbers=[per_dataset.outputs_table(summary, dataset, outputs)] if outputs else [],
        reliability=[figure for figure in reliability.values() if figure],
        reliability_numbers=[
            per_dataset.reliability_table(summary, dataset, name, of_methods)
            for name, of_methods in diagrams.items()
            if of_methods
        ],
        curves=[figure for figure in curves if figure],
        cost=_present(result_charts.cost_chart(summary, dataset, **shown)),
        samples=[strip] if strip else [],
    )


def chart_tables(view: View, dataset: str, methods: Sequence[str]) -> ChartTables:
    """The numbers of some methods on a data set."""
    summary = view.summary
    return ChartTables(
        probe=per_dataset.probe_table(summary, dataset, methods),
        cka=[per_dataset.cka_table(summary, dataset, kernel, methods) for kernel in KERNEL_NAMES],
        ks=per_dataset.ks_table(summary, dataset, methods),
        curves=[
            per_dataset.curve_table(summary, dataset, quantity, title, methods)
            for quantity, title, _ in quantities(summary, dataset)
        ],
        cost=per_dataset.cost_table(summary, dataset, methods),
    )


def _present(figure: Figure | None) -> list[Figure]:
    return [figure] if figure else []
