"""Numbers read off the precision-recall and the ROC curve, on samples as they are and on resamples.

As in `imssl.metrics`, each is written once, as a function of how often each sample is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imssl.metrics import (
    Statistic,
    check_predictions,
    class_indicators,
    mean_of_defined,
    positive_columns,
    ratio,
)
from imssl.task import Task


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of one model on one test set; None where it is undefined.

    Attributes:
        macro: mean over the classes that have both values; for a binary task that of class 1.
        per_class: by class name; for a binary task of class 1 only.
        prevalence: share of samples with the class, which is what a model without any skill would get.
    """

    macro: float | None
    per_class: dict[str, float | None]
    prevalence: dict[str, float]


def average_precision(
    task: Task, labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]
) -> AveragePrecision:
    """Area under the steps of the precision-recall curve, one class against the rest.

    Args:
        task: kind of task.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C) in [0, 1]; C = 2 for binary.
        classes: C names, in the order of the columns.

    Raises:
        ValueError: an argument is malformed.
    """
    labels, probabilities = check_predictions(task, labels, probabilities)
    truth = class_indicators(task, labels, probabilities.shape[1])
    once = np.ones((1, len(labels)), dtype=np.int64)
    columns = positive_columns(task, probabilities.shape[1])
    values = {
        classes[c]: average_precision_statistic(truth[:, c], probabilities[:, c])(once)[0] for c in columns
    }
    macro = mean_of_defined(np.array([list(values.values())]))[0]
    return AveragePrecision(
        macro=_number(macro),
        per_class={name: _number(value) for name, value in values.items()},
        prevalence={classes[c]: float(truth[:, c].mean()) for c in columns},
    )


def macro_average_precision_statistic(task: Task, labels: ArrayLike, probabilities: ArrayLike) -> Statistic:
    """Macro average precision as a function of counts (R, N) -> (R,); arguments as `average_precision`."""
    labels, probabilities = check_predictions(task, labels, probabilities)
    truth = class_indicators(task, labels, probabilities.shape[1])
    per_class = [
        average_precision_statistic(truth[:, c], probabilities[:, c])
        for c in positive_columns(task, probabilities.shape[1])
    ]
    return lambda counts: mean_of_defined(np.stack([values(counts) for values in per_class], axis=1))


def average_precision_statistic(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> Statistic:
    """Average precision of one class as a function of how often each sample is drawn.

    The sum over thresholds of precision times the gain in recall, tied scores entering together; no
    interpolation, which would be too kind (Davis & Goadrich 2006). NaN in a resample that has not both
    values: where all are positive, average precision is 1 whatever the scores are.

    Args:
        positive: (N,) whether the sample belongs to the class.
        score: (N,) finite scores.
    """
    order, ends = _thresholds(score)
    truth = positive[order].astype(np.int64)

    def values(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        drawn = counts.take(order, axis=1)
        hits = np.cumsum(drawn * truth, axis=1)[:, ends]
        taken = np.cumsum(drawn, axis=1)[:, ends]
        gained = np.diff(hits, axis=1, prepend=0)
        precision = np.nan_to_num(ratio(hits, taken))  # before the first drawn sample nothing is gained
        area = ratio((gained * precision).sum(axis=1), hits[:, -1])
        return np.where(hits[:, -1] < taken[:, -1], area, np.nan)

    return values


def sensitivity_statistic(
    positive: NDArray[np.bool_], score: NDArray[np.floating], specificity: float = 0.9
) -> Statistic:
    """Highest sensitivity at a specificity of at least so much, as a function of counts (R, N) -> (R,).

    The threshold is that of the resample itself: the curve is read off, no operating point is carried over
    from validation. NaN where a resample has not both values.

    Args:
        positive: (N,) whether the sample belongs to the class.
        score: (N,) finite scores.
        specificity: in [0, 1].
    """
    order, ends = _thresholds(score)
    truth = positive[order].astype(np.int64)

    def values(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        drawn = counts.take(order, axis=1)
        hits = np.cumsum(drawn * truth, axis=1)[:, ends]
        alarms = np.cumsum(drawn * (1 - truth), axis=1)[:, ends]
        # In whole numbers of false alarms, so that rounding cannot move a threshold.
        allowed = alarms <= np.floor((1 - specificity) * alarms[:, -1:] + 1e-9)
        best = np.where(allowed, hits, 0).max(axis=1)
        return np.where(alarms[:, -1] > 0, ratio(best, hits[:, -1]), np.nan)

    return values


def sensitivity_at_specificity(
    labels: ArrayLike, probabilities: ArrayLike, specificity: float = 0.9
) -> float | None:
    """Sensitivity of a binary task's class 1 at a specificity of at least so much; None where undefined.

    Args:
        labels: (N,) of 0 and 1.
        probabilities: (N, 2).
        specificity: in [0, 1].

    Raises:
        ValueError: an argument is malformed.
    """
    labels, probabilities = check_predictions("binary", labels, probabilities)
    values = sensitivity_statistic(labels == 1, probabilities[:, 1], specificity)
    return _number(values(np.ones((1, len(labels)), dtype=np.int64))[0])


def _thresholds(score: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) samples from the highest score to the lowest, and the last position of each distinct score."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    return order, ends


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
