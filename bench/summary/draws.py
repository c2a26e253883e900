"""The primary metric of every run on every bootstrap resample: what all comparisons are made from.

All methods and seeds of a data set share the resamples, so any difference between two of them is paired.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

import bench.summary.bootstrap
import bench.summary.patient_pairs
import imssl.metrics
from bench.cells.predictions import Predictions
from bench.machine.workers import side_by_side
from bench.protocol.cell import Cell, label_sets_of
from bench.protocol.label_columns import label_columns
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import CELL_STAGES, STAGES, Stage
from bench.summary.bootstrap import Interval, bootstrap_seed, percentile_interval, resample_counts
from bench.summary.draws_cache import kept_arrays
from bench.summary.estimated_mean import EstimatedMean, difference_of_means, means_of_rows
from bench.summary.patient_pairs import MOST_PATIENTS, PatientPairs
from bench.summary.read import Predicted, Results
from imssl.datasets.prepared import Card
from imssl.metrics import lowest_value, statistic
from imssl.settings.labels import LabelSet


class Comparison(NamedTuple):
    """One column of the leaderboard.

    Attributes:
        dataset: id.
        evaluation: ``finetune``, ``frozen``, ``knn`` or ``probe``.
        labels: how many a model may use; None for probes.
        block: of the encoder, for probes only.
    """

    dataset: str
    evaluation: str
    labels: LabelSet | None
    block: int | None

    @property
    def columns(self) -> dict[str, Any]:
        """Its columns in a table."""
        named = {"dataset": self.dataset, "evaluation": self.evaluation}
        return named | label_columns(self.labels) | {"block": self.block}


@dataclass(frozen=True)
class ComparisonDraws:
    """The primary metric of every method at one place.

    Attributes:
        place: which column of the leaderboard.
        metric: the data set's primary metric; empty while it is not prepared.
        seeds: of the protocol, S.
        methods: those with a defined value of every seed, M, in the protocol's order.
        values: (M, S) on all test samples.
        draws: (M, S, R) on the resamples; NaN where undefined. Equal r are equal resamples.
        unit: what is resampled, ``patients`` or ``samples``.
        units: how many of these there are; 0 without any predictions.
        excluded: why the other methods are left out, by id.
    """

    place: Comparison
    metric: str
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    values: NDArray[np.float64]
    draws: NDArray[np.float64]
    unit: str
    units: int
    excluded: dict[str, str]

    @cached_property
    def mean_draws(self) -> NDArray[np.float64]:
        """(M, R) mean over the seeds on each resample; NaN where it is undefined for any seed."""
        return self.draws.mean(axis=1)

    def row(self, method: str) -> int | None:
        """Row of a method in ``values`` and ``draws``; None where it is left out."""
        return self.methods.index(method) if method in self.methods else None

    def mean(self, method: str) -> EstimatedMean:
        """The mean over seeds of a method that is in the column."""
        return self._means[self.methods.index(method)]

    @cached_property
    def _means(self) -> list[EstimatedMean]:
        return means_of_rows(self.values, self.mean_draws, self.units)

    def difference(self, method: str, reference: str) -> EstimatedMean | None:
        """One method minus another, on the same patients; None where either lacks a result."""
        row, other = self.row(method), self.row(reference)
        if row is None or other is None:
            return None
        draws = self.mean_draws[row] - self.mean_draws[other]
        return difference_of_means(self._means[row], self._means[other], draws, self.units)

    def interval(self, method: str, level: float) -> Interval:
        """The mean over seeds with its interval.

        With two seeds or more it is Student's, over patients and seeds, and ends where the metric ends. With
        one seed it is the percentile interval over test patients, which cannot say how much another seed
        would differ.
        """
        averages = self.mean_draws[self.methods.index(method)]
        estimate = self.mean(method)
        low: float | None
        high: float | None
        if estimate.seeds > 1:
            low, high = estimate.interval_within(level, lowest_value(self.metric), 1)
        else:
            low, high = percentile_interval(averages, level)
        return Interval(
            value=estimate.value,
            low=low,
            high=high,
            level=level,
            resamples=averages.size,
            undefined=int(np.isnan(averages).sum()),
            unit="patients" if self.unit == "patients" else "samples",
            units=self.units,
        )


def draw_comparisons(protocol: Protocol, results: Results) -> dict[Comparison, ComparisonDraws]:
    """Every column of the leaderboard, in the protocol's order.

    A method is in a column only if every seed of the protocol has a defined value there; a column without
    any result has no methods and says why. Draws are kept below .bench/, by a hash of the predictions, the
    settings and the code, and found again.
    """
    by_dataset: dict[str, dict[Predicted, Predictions]] = {dataset: {} for dataset in protocol.datasets}
    for run, predictions in results.predictions.items():
        by_dataset[run[0].dataset][run] = predictions
    tasks = [
        partial(_dataset_columns, protocol, results, dataset, runs) for dataset, runs in by_dataset.items()
    ]
    return {place: column for part in side_by_side(tasks) for place, column in part.items()}


def places(protocol: Protocol, dataset: str) -> list[Comparison]:
    """The columns of a data set."""
    return [
        Comparison(dataset, stage, labels, block)
        for stage in CELL_STAGES
        for labels in label_sets_of(stage, protocol)
        for block in STAGES[stage].predictions or ()
    ]


def _dataset_columns(
    protocol: Protocol, results: Results, dataset: str, predictions: dict[Predicted, Predictions]
) -> dict[Comparison, ComparisonDraws]:
    reference = next(iter(predictions.values()), None)
    shared = {
        run: predicted
        for run, predicted in predictions.items()
        if reference and same_samples(predicted, reference)
    }
    values: dict[Comparison, dict[tuple[str, int], NDArray[np.float64]]] = {}
    unit, units = "samples", 0
    if reference:
        resamples = _Resamples(results.cards[dataset], reference, protocol.report.resamples, dataset)
        by_method: dict[str, dict[Predicted, NDArray[np.float64]]] = {}
        for run, predicted in shared.items():
            by_method.setdefault(run[0].method, {})[run] = predicted.probabilities
        for runs in by_method.values():
            for (cell, block), resampled in zip(runs, resamples.values(list(runs.values())), strict=True):
                place = Comparison(dataset, cell.stage, cell.labels, block)
                values.setdefault(place, {})[cell.method, cell.seed] = resampled
        units = int(np.unique(reference.patients).size)
        unit = "samples" if units == reference.patients.size else "patients"
    metric = results.cards[dataset].primary_metric if dataset in results.cards else ""
    reasons = _Reasons(results, set(predictions) - set(shared))
    return {
        place: _column(place, metric, protocol, values.get(place, {}), (unit, units), reasons)
        for place in places(protocol, dataset)
    }


def _column(
    place: Comparison,
    metric: str,
    protocol: Protocol,
    values: dict[tuple[str, int], NDArray[np.float64]],
    resampled: tuple[str, int],
    reasons: "_Reasons",
) -> ComparisonDraws:
    """A column from the values of its runs, each (1 + R): on all samples, then on the resamples."""
    seeds = tuple(protocol.seeds)
    complete, excluded = [], {}
    for method in protocol.methods:
        runs = [values[method, seed] for seed in seeds if (method, seed) in values]
        if len(runs) == len(seeds) and not any(np.isnan(run[0]) for run in runs):
            complete.append((method, np.stack(runs)))
        else:
            excluded[method] = reasons.why(place, method, seeds)
    width = protocol.report.resamples + 1
    stacked = np.stack([runs for _, runs in complete]) if complete else np.empty((0, len(seeds), width))
    return ComparisonDraws(
        place=place,
        metric=metric,
        seeds=seeds,
        methods=tuple(method for method, _ in complete),
        values=stacked[:, :, 0],
        draws=stacked[:, :, 1:],
        unit=resampled[0],
        units=resampled[1],
        excluded=excluded,
    )


class _Reasons:
    """Why a method is not in a column."""

    def __init__(self, results: Results, elsewhere: set[Predicted]) -> None:
        self.results = results
        self.elsewhere = elsewhere

    def why(self, place: Comparison, method: str, seeds: Sequence[int]) -> str:
        stage = cast(Stage, place.evaluation)
        cells = [Cell(stage, place.dataset, method, seed, place.labels) for seed in seeds]
        states = [(cell.seed, self.results.states[cell].status) for cell in cells]
        holes = [f"seed {seed} {status}" for seed, status in states if status != "done"]
        if holes:
            return ", ".join(holes)
        if any(_stage_place(cell) == place[:3] and cell.method == method for cell, _ in self.elsewhere):
            return "tested on other samples than the rest"
        return "the metric is undefined on these test images"


def _stage_place(cell: Cell) -> tuple[str, str, LabelSet | None]:
    return cell.dataset, cell.stage, cell.labels


def same_samples(predictions: Predictions, reference: Predictions) -> bool:
    """Whether both are of the same images, of the same patients and with the same labels."""
    return all(
        np.array_equal(getattr(predictions, name), getattr(reference, name))
        for name in ("ids", "labels", "patients")
    )


class _Resamples:
    """The resamples of one data set's test patients, drawn when first needed."""

    def __init__(self, card: Card, reference: Predictions, resamples: int, dataset: str) -> None:
        self.card, self.reference, self.resamples = card, reference, resamples
        self.seed = bootstrap_seed(dataset)
        self._counts: list[NDArray[np.int32]] = []

    def values(self, probabilities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """(runs, 1 + R): the metric on all samples, then on every resample; from the cache where possible."""
        if not probabilities:
            return np.empty((0, self.resamples + 1))
        return kept_arrays(self._key(probabilities), lambda: self._compute(probabilities))

    def _compute(self, probabilities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        if not self._counts:
            once = np.ones((1, len(self.reference.ids)), dtype=np.int32)
            self._counts = [once, *resample_counts(self.reference.patients, self.resamples, self.seed)]
        if self._pairs:
            return self._pairs.mean_aurocs([scores[:, self._classes] for scores in probabilities])
        values = np.empty((len(probabilities), self.resamples + 1))
        for i, predicted in enumerate(probabilities):
            metric = statistic(self.card.primary_metric, self.card.task, self.reference.labels, predicted)
            values[i] = np.concatenate([metric(counts) for counts in self._counts])
        return values

    @cached_property
    def _pairs(self) -> PatientPairs | None:
        """The quicker way to an AUROC where there are few patients; None otherwise."""
        patients, labels = self.reference.patients, self.reference.labels
        few = np.unique(patients).size <= MOST_PATIENTS
        if not few or self.card.primary_metric not in ("auroc", "macro_auroc"):
            return None
        positive = labels == 1 if labels.ndim == 2 else labels[:, None] == np.arange(len(self.card.classes))
        return PatientPairs(positive[:, self._classes], patients, np.concatenate(self._counts))

    @property
    def _classes(self) -> slice:
        """Both classes of a binary task have the same AUROC."""
        return slice(1, 2) if self.card.task == "binary" else slice(None)

    def _key(self, probabilities: Sequence[NDArray[np.float64]]) -> str:
        digest = hashlib.sha256(code_digest().encode())
        settings = [self.card.task, self.card.primary_metric, self.resamples, self.seed]
        digest.update(json.dumps(settings).encode())
        reference = self.reference
        for array in (reference.patients, reference.labels, *probabilities):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@cache
def code_digest() -> str:
    """Of the code that decides a draw."""
    digest = hashlib.sha256()
    files = [
        imssl.metrics.__file__,
        bench.summary.bootstrap.__file__,
        bench.summary.patient_pairs.__file__,
        __file__,
    ]
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()
