"""What labels are worth: the area under metric against labels, and the labels that pretraining saves."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from bench.analysis.row_models import Count, Number, RowModel
from bench.protocol.protocol import ReportSettings
from bench.summary.bootstrap import percentile_interval
from bench.summary.draws import Comparison, ComparisonDraws
from bench.summary.estimated_mean import seed_multipliers, with_seed_noise
from bench.summary.summary import Measurement, Summary
from imssl.label_curve import labels_to_reach, log_area
from imssl.seeds import numpy_generator
from imssl.settings.labels import LabelSet

Array = NDArray[np.float64]


class LabelEfficiencyRow(RowModel):
    """What labels are worth to one method on one data set."""

    dataset: str = Field(description="id of the data set")
    evaluation: str = Field(description="finetune or frozen")
    metric: str = Field(description="the data set's primary metric")
    method: str = Field(description="id of the method")
    area: Number = Field(
        description="area under the metric against the logarithm of the training labels that were drawn, "
        "over the width of the axis: a mean of the metric; NaN where a label set has no result"
    )
    area_low: Number = Field(
        description="lower end of its interval, over patients and seeds, with one seed over patients only"
    )
    area_high: Number = Field(description="upper end")
    reference: str = Field(
        description="id of the method without pretraining whose mean with all labels is to be matched: of "
        "several the one that is better on validation images"
    )
    target: Number = Field(description="that mean")
    labels_all: Number = Field(
        description="labels that the reference has drawn, for training and for validation, mean over seeds"
    )
    labels_needed: Number = Field(
        description="fewest labels, training and validation, with which the target is reached, interpolated "
        "on the log axis; NaN if it is not"
    )
    labels_saved: Number = Field(description="1 - labels_needed / labels_all")
    labels_saved_low: Number = Field(
        description="lower end of its interval, over patients and seeds; a resample that does not reach the "
        "target counts as nothing saved; NaN below the least number of seeds"
    )
    images_saved: Count = Field(
        description="at least so many images need no label: labels_saved_low of labels_all, rounded down; "
        "NA where that is not above 0"
    )
    reached_share: Number = Field(
        description="share of the resamples of patients and seeds in which the target is reached"
    )
    reached: str = Field(
        description="'yes', 'at the smallest' (the smallest label set does already), 'not reached', or '' "
        "where there is nothing to compare"
    )
    reason: str = Field(description="what is missing; empty otherwise")


@dataclass(frozen=True)
class LabelsUsed:
    """How many labels a run may see.

    Attributes:
        training: labelled training images, mean over seeds.
        validation: labelled validation images that choose epoch and strength, mean over seeds.
    """

    training: float
    validation: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.training + self.validation


# By data set, evaluation and label set.
Budgets = Mapping[tuple[str, str, LabelSet], LabelsUsed]
# By column and method.
ValidationMeans = Mapping[tuple[Comparison, str], float]


def label_budgets(summary: Summary) -> dict[tuple[str, str, LabelSet], LabelsUsed]:
    """The labels that were drawn, as the runs have recorded them; the same for every method."""
    budgets = {}
    for name in summary.measured:
        labels = name.labels
        training = summary.mean(name) if name.metric == "labelled_images" else None
        if labels is None or training is None:
            continue
        place = name.dataset, name.method, name.evaluation, labels, None, ""
        recorded = summary.mean(Measurement(*place, "labelled_validation_images"))
        if recorded is not None:
            budgets[name.dataset, name.evaluation, labels] = LabelsUsed(training, recorded)
    return budgets


def validation_means(summary: Summary) -> dict[tuple[Comparison, str], float]:
    """The references' primary metric on all validation images, mean over seeds, where all seeds have one.

    Probes store no predictions of these images, and note the metric for every method.
    """
    of_seeds: dict[tuple[Comparison, str], list[float]] = {}
    for cell, value in summary.results.validation.items():
        if cell.labels is not None:
            place = Comparison(cell.dataset, cell.stage, cell.labels, None)
            of_seeds.setdefault((place, cell.method), []).append(value)
    seeds = len(summary.protocol.seeds)
    means = {place: float(np.mean(values)) for place, values in of_seeds.items() if len(values) == seeds}
    for name in summary.measured:
        if name.metric == "validation_metric" and name.block and (mean := summary.mean(name)) is not None:
            means[Comparison(name.dataset, name.evaluation, None, name.block), name.method] = mean
    return means


def label_efficiency(
    columns: Iterable[ComparisonDraws],
    methods: Sequence[str],
    settings: ReportSettings,
    references: Sequence[str],
    budgets: Budgets,
    validation: ValidationMeans,
    trained_references: Sequence[str] = (),
) -> pd.DataFrame:
    """Label efficiency of every method on every data set, for fine-tuning and for the frozen encoder.

    Args:
        columns: of the leaderboard.
        methods: of the protocol.
        settings: level of the intervals and least number of seeds.
        references: the methods without pretraining.
        budgets: labels that were drawn.
        validation: means of the references, by which the stronger of them is chosen.
        trained_references: that others or labels have trained; they neither save labels nor are matched.

    Returns:
        A row as LabelEfficiencyRow per data set, evaluation and method.
    """
    curves: dict[tuple[str, str], list[ComparisonDraws]] = {}
    for column in columns:
        if column.place.labels is not None:
            curves.setdefault((column.place.dataset, column.place.evaluation), []).append(column)
    rows = []
    for curve in curves.values():
        ascending = _by_labels_drawn(curve, budgets)
        stronger = stronger_reference(ascending[-1], references, validation)
        for method in methods:
            curve_of_method = _Curve(ascending, method, budgets)
            is_trained_reference = method in trained_references
            rows.append(_row(curve_of_method, settings, references, stronger, is_trained_reference))
    return LabelEfficiencyRow.table(rows)


def _by_labels_drawn(curve: list[ComparisonDraws], budgets: Budgets) -> list[ComparisonDraws]:
    """From few labels to all: five labels of each class may be more than 1% of them, or fewer."""

    def size(column: ComparisonDraws) -> tuple[bool, float, float, LabelSet]:
        labels = _labels_of(column)
        used = budgets.get((column.place.dataset, column.place.evaluation, labels), LabelsUsed(0, 0))
        return labels.is_everything, used.training, used.total, labels

    return sorted(curve, key=size)


def _labels_of(column: ComparisonDraws) -> LabelSet:
    assert column.place.labels is not None  # only evaluations by label set have a curve
    return column.place.labels


@dataclass(frozen=True)
class _Curve:
    """A method's columns of one data set and evaluation, from few labels to all."""

    columns: list[ComparisonDraws]
    method: str
    budgets: Budgets

    @property
    def missing(self) -> str:
        """Which results lack, and why; empty if none."""
        holes = [
            f"{_labels_of(column).words}: {column.excluded[self.method]}"
            for column in self.columns
            if self.method in column.excluded
        ]
        unknown = [] if holes or len(self.labels) == len(self.columns) else ["labels drawn are not recorded"]
        return "; ".join(holes + unknown)

    @property
    def labels(self) -> list[LabelsUsed]:
        """Of every column, where they are known."""
        keys = [
            (column.place.dataset, column.place.evaluation, _labels_of(column)) for column in self.columns
        ]
        return [self.budgets[key] for key in keys if key in self.budgets]

    @property
    def means(self) -> Array:
        """(F, 1) over seeds, on all test samples."""
        return np.stack([column.values[self._row(column)].mean(keepdims=True) for column in self.columns])

    def varied(self) -> Array:
        """(F, R) means as patients and, with two or more, seeds vary; a seed's noise is that of its runs."""
        first, curves = self.columns[0], []
        seeds, resamples = len(first.seeds), first.draws.shape[2]
        generator = numpy_generator(0, "labels", first.place.dataset, first.place.evaluation, self.method)
        multipliers = seed_multipliers(1, seeds, resamples, generator) if seeds > 1 else None
        for column in self.columns:
            row = [self._row(column)]
            draws = column.mean_draws[row]
            if multipliers is not None:
                draws = with_seed_noise(draws, column.values[row], multipliers)
            curves.append(draws[0])
        return np.stack(curves)

    def _row(self, column: ComparisonDraws) -> int:
        return column.methods.index(self.method)


@dataclass(frozen=True)
class Stronger:
    """The reference to be matched.

    Attributes:
        method: its id; empty where there is none.
        reason: why not; empty otherwise.
    """

    method: str
    reason: str


def stronger_reference(
    column: ComparisonDraws, references: Sequence[str], validation: ValidationMeans
) -> Stronger:
    """The reference with the highest validation mean among those in a column.

    Chosen by their test means, the higher of two would be high by luck as well, and what it is compared with
    too low.
    """
    present = [name for name in references if name in column.methods]
    if not present:
        who = ", ".join(references) or "a method without pretraining"
        return Stronger("", f"no result of {who} to compare with")
    if len(present) == 1:
        return Stronger(present[0], "")
    means = {name: validation.get((column.place, name)) for name in present}
    unknown = [name for name, mean in means.items() if mean is None]
    if unknown:
        return Stronger("", f"no validation results by which the stronger of {', '.join(present)} is told")
    return Stronger(max(present, key=lambda name: means[name] or 0.0), "")


def _row(
    curve: _Curve,
    settings: ReportSettings,
    references: Sequence[str],
    stronger: Stronger,
    is_trained_reference: bool,
) -> dict[str, Any]:
    first = curve.columns[0]
    row: dict[str, Any] = {
        "dataset": first.place.dataset,
        "evaluation": first.place.evaluation,
        "metric": first.metric,
        "method": curve.method,
        "reference": "",
        "reached": "",
        "reason": curve.missing,
    }
    if row["reason"]:
        return row
    training = [budget.training for budget in curve.labels]
    low, high = percentile_interval(log_area(training, curve.varied()), settings.level)
    row |= {"area": float(log_area(training, curve.means)[0]), "area_low": low, "area_high": high}
    if curve.method in references:
        return row | {"reason": "a reference without pretraining"}
    if stronger.reason:
        return row | {"reason": stronger.reason}
    if is_trained_reference:
        return row | {"reason": "a reference, not a competitor"}
    reference = _Curve(curve.columns[-1:], stronger.method, curve.budgets)
    return row | {"reference": stronger.method} | _saved(curve, reference, settings)


def _saved(curve: _Curve, reference: _Curve, settings: ReportSettings) -> dict[str, Any]:
    """What a method saves against the mean of a reference with all labels."""
    labels, target = [budget.total for budget in curve.labels], reference.means[0]
    needed = float(labels_to_reach(labels, curve.means, target)[0])
    draws, target_draws = curve.varied(), reference.varied()[0]
    defined = ~(np.isnan(draws).any(axis=0) | np.isnan(target_draws))
    needed_draws = labels_to_reach(labels, draws[:, defined], target_draws[defined])
    saved_draws = np.nan_to_num(1 - needed_draws / labels[-1], nan=0.0)
    enough = len(curve.columns[0].seeds) >= settings.least_seeds
    low = percentile_interval(saved_draws, settings.level)[0] if enough else None
    reached = "not reached" if math.isnan(needed) else "at the smallest" if needed <= labels[0] else "yes"
    return {
        "target": float(target[0]),
        "labels_all": labels[-1],
        "labels_needed": needed,
        "labels_saved": 1 - needed / labels[-1],
        "labels_saved_low": low,
        "images_saved": math.floor(low * labels[-1]) if low is not None and low > 0 else None,
        "reached_share": float(np.mean(~np.isnan(needed_draws))) if needed_draws.size else math.nan,
        "reached": reached,
    }
