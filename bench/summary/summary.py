"""The numbers behind the page: every measurement over its seeds, found again by name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from bench.cells.predictions import Predictions
from bench.protocol.cell import Cell
from bench.protocol.label_columns import LABEL_COLUMNS, label_columns, labels_in
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES, Stage
from bench.summary.bootstrap import Interval
from bench.summary.draws import Comparison, ComparisonDraws, draw_comparisons, same_samples
from bench.summary.over_seeds import MEASUREMENT, OverSeeds, curve_means, over_seeds
from bench.summary.read import CellState, Results
from bench.summary.tidy import none_for_missing
from imssl.settings.datasets import PhantomSettings
from imssl.settings.labels import EVERYTHING, LabelSet


class Measurement(NamedTuple):
    """What distinguishes one number of the page from another; columns as over_seeds.MEASUREMENT."""

    dataset: str
    method: str
    evaluation: str
    labels: LabelSet | None
    block: int | None
    class_name: str
    metric: str

    @property
    def columns(self) -> dict[str, Any]:
        """Its columns in a table."""
        return {
            "dataset": self.dataset,
            "method": self.method,
            "evaluation": self.evaluation,
            **label_columns(self.labels),
            "block": self.block,
            "class": self.class_name,
            "metric": self.metric,
        }


@dataclass(frozen=True)
class Summary:
    """Everything that tables and charts are made from.

    Attributes:
        protocol: what was asked for.
        results: what is there.
        measured: mean and range over the seeds, by measurement.
        columns: the primary metric of every method and its bootstrap draws, see bench.summary.draws.
        intervals: of the primary metric, for measurements with results of every seed.
        curves: of pretraining, see `curve_means`.
    """

    protocol: Protocol
    results: Results
    measured: dict[Measurement, OverSeeds]
    columns: dict[Comparison, ComparisonDraws]
    intervals: dict[Measurement, Interval]
    curves: pd.DataFrame

    @cached_property
    def _curves(self) -> dict[tuple[str, str], dict[str, dict[int, float]]]:
        points: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
        names = ("dataset", "quantity", "method", "epoch", "mean")
        for dataset, quantity, method, epoch, mean in zip(
            *(self.curves[name] for name in names), strict=True
        ):
            by_method = points.setdefault((dataset, quantity), {})
            by_method.setdefault(method, {})[int(epoch)] = float(mean)
        return points

    def curve(self, dataset: str, quantity: str) -> dict[str, dict[int, float]]:
        """Means of a quantity of pretraining by method and epoch."""
        return self._curves.get((dataset, quantity), {})

    def span(self, measurement: Measurement) -> tuple[float, float] | None:
        """Lowest and highest value over the seeds and all methods, of which the measurement's is left out."""
        place = measurement._replace(method="")
        if place not in self._spans:
            of_methods = (self.measured.get(place._replace(method=name)) for name in self.protocol.methods)
            known = [row for row in of_methods if row and not math.isnan(row.mean)]
            ends = (min(row.lowest for row in known), max(row.highest for row in known)) if known else None
            self._spans[place] = ends
        return self._spans[place]

    @cached_property
    def _spans(self) -> dict[Measurement, tuple[float, float] | None]:
        return {}  # those that were asked for

    def mean(self, measurement: Measurement) -> float | None:
        """Mean over the seeds; None unless every seed has a defined value."""
        row = self.measured.get(measurement)
        return None if row is None or math.isnan(row.mean) else row.mean

    def primary(self, dataset: str) -> str:
        """Primary metric of a data set; macro AUROC stands in while it is not prepared."""
        card = self.results.cards.get(dataset)
        return card.primary_metric if card else "macro_auroc"

    def is_complete(self, measurement: Measurement) -> bool:
        """Whether every cell that a measurement is made of has results."""
        return all(state.status == "done" for _, state in self.states(measurement))

    def states(self, measurement: Measurement) -> list[tuple[int, CellState]]:
        """How the cells of a measurement stand, by seed."""
        cells = _cells(measurement, self.protocol)
        return [(cell.seed, self.results.states[cell]) for cell in cells]


def summarise(protocol: Protocol, results: Results) -> Summary:
    """Summarise all results over the seeds, with intervals of the primary metrics."""
    columns = draw_comparisons(protocol, results)
    return Summary(
        protocol=protocol,
        results=results,
        measured=_measured(over_seeds(results.table, protocol.seeds)),
        columns=columns,
        intervals=_intervals(columns, protocol.report.level),
        curves=curve_means(_joined_histories(results), protocol.seeds),
    )


def complete_runs(
    summary: Summary, dataset: str, stage: Stage, methods: Sequence[str]
) -> dict[str, list[Predictions]]:
    """Predictions with all labels by method, for those that have them of every seed, of the same images.

    Args:
        summary: of the run.
        dataset: id.
        stage: whose predictions.
        methods: ids, in the order of the result.
    """
    runs: dict[str, list[Predictions]] = {}
    first: Predictions | None = None
    for method in methods:
        cells = [Cell(stage, dataset, method, seed, EVERYTHING) for seed in summary.protocol.seeds]
        of_seeds = [run for cell in cells if (run := summary.results.predictions.get((cell, None)))]
        first = first or next(iter(of_seeds), None)
        same = all(first is not None and same_samples(run, first) for run in of_seeds)
        if len(of_seeds) == len(cells) and same:
            runs[method] = of_seeds
    return runs


def synthetic_datasets(protocol: Protocol, results: Results) -> list[str]:
    """Data sets whose images are procedural."""
    return [
        name
        for name, settings in protocol.datasets.items()
        if isinstance(settings, PhantomSettings) or (name in results.cards and results.cards[name].synthetic)
    ]


def _measured(table: pd.DataFrame) -> dict[Measurement, OverSeeds]:
    """A table of `over_seeds` by measurement."""
    places = none_for_missing(table[MEASUREMENT]).to_numpy().tolist()
    rows = table[list(OverSeeds._fields)].itertuples(index=False, name=None)
    return {
        Measurement(dataset, method, evaluation, _label_set(fraction, per_class), *rest): OverSeeds(*row)
        for (dataset, method, evaluation, fraction, per_class, *rest), row in zip(places, rows, strict=True)
    }


@cache  # there are few, and each is one object
def _label_set(fraction: float | None, per_class: int | None) -> LabelSet | None:
    return labels_in(dict(zip(LABEL_COLUMNS, (fraction, per_class), strict=True)))


def _joined_histories(results: Results) -> pd.DataFrame:
    """The histories of all cells as one table, each row with what it is of."""
    cells, histories = list(results.histories), list(results.histories.values())
    joined = pd.concat(histories, ignore_index=True) if cells else pd.DataFrame(columns=["epoch"])
    lengths = [len(history) for history in histories]
    whose = {name: [getattr(cell, name) for cell in cells] for name in ("dataset", "method", "seed")}
    return joined.assign(**{name: np.repeat(values, lengths) for name, values in whose.items()})


def _intervals(columns: dict[Comparison, ComparisonDraws], level: float) -> dict[Measurement, Interval]:
    return {
        Measurement(place.dataset, method, *place[1:], "", column.metric): column.interval(method, level)
        for place, column in columns.items()
        for method in column.methods
    }


def _cells(measurement: Measurement, protocol: Protocol) -> list[Cell]:
    """The cells that a measurement is made of, one for each seed."""
    dataset, method, evaluation, labels = measurement[:4]
    stage = cast(Stage, evaluation)
    of_cell = labels if STAGES[stage].per_label_set else None
    return [Cell(stage, dataset, method, seed, of_cell) for seed in protocol.seeds]
