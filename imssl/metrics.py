"""Test metrics, on the samples as they are and on resamples given as counts.

Every metric is written once, as a function of how often each sample is drawn: a score is the metric at one
draw of each sample, and a bootstrap hands in thousands of rows of counts (bench/summary/bootstrap.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imssl.task import Task

Metric = Literal["macro_auroc", "auroc", "macro_f1", "accuracy", "balanced_accuracy", "qwk"]

# (R, N) counts of each sample in each resample -> (R,) values, NaN where the metric is undefined.
Statistic = Callable[[NDArray[np.integer]], NDArray[np.float64]]


@dataclass(frozen=True)
class Scores:
    """Metrics of one model on one test set; None where a metric is undefined.

    Attributes:
        macro_auroc: mean AUROC over the classes that have both labels, one against the rest; for a binary
            task the AUROC of class 1.
        auroc_per_class: AUROC by class name; for a binary task of class 1 only.
        undefined_classes: the classes of `auroc_per_class` left out of the mean, as all samples agree.
        macro_f1: mean F1 over the classes that occur among the labels or the predictions.
        accuracy: share of samples predicted right; multilabel: share of (sample, label) pairs predicted
            right, which is not the share of samples with every label right.
        balanced_accuracy: mean recall over the classes that occur; multilabel: mean over the labels that
            have both values of (sensitivity + specificity) / 2.
        qwk: quadratically weighted kappa; None unless the task is ordinal.
    """

    macro_auroc: float | None
    auroc_per_class: dict[str, float | None]
    undefined_classes: list[str]
    macro_f1: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    qwk: float | None


def scores(task: Task, labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> Scores:
    """All metrics of one set of predictions.

    A multilabel prediction is positive from a probability of 0.5; otherwise the most probable class is
    predicted, the first of equals.

    Args:
        task: kind of task.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C) in [0, 1]; C = 2 for binary.
        classes: C names, in the order of the columns.

    Raises:
        ValueError: an argument has the wrong shape, or values that are not finite or out of range.
    """
    labels, probabilities = check_predictions(task, labels, probabilities)
    if len(classes) != probabilities.shape[1]:
        raise ValueError(
            f"classes: {len(classes)} names for {probabilities.shape[1]} columns of probabilities"
        )
    once = np.ones((1, len(labels)), dtype=np.int32)

    def value(metric: Metric) -> float | None:
        return _number(statistic(metric, task, labels, probabilities)(once)[0])

    truth = class_indicators(task, labels, probabilities.shape[1])
    per_class = {
        classes[c]: _number(auroc_statistic(truth[:, c], probabilities[:, c])(once)[0])
        for c in positive_columns(task, probabilities.shape[1])
    }
    return Scores(
        macro_auroc=value("macro_auroc"),
        auroc_per_class=per_class,
        undefined_classes=[name for name, auroc in per_class.items() if auroc is None],
        macro_f1=value("macro_f1"),
        accuracy=value("accuracy"),
        balanced_accuracy=value("balanced_accuracy"),
        qwk=value("qwk") if task == "ordinal" else None,
    )


def metric_value(metric: Metric, task: Task, labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """One metric of one set of predictions; None where it is undefined. Arguments as for `statistic`."""
    values = statistic(metric, task, labels, probabilities)
    return _number(values(np.ones((1, len(np.asarray(probabilities))), dtype=np.int64))[0])


def statistic(metric: Metric, task: Task, labels: ArrayLike, probabilities: ArrayLike) -> Statistic:
    """A metric as a function of how often each sample is drawn.

    Args:
        metric: its name; "auroc" is for binary tasks, "qwk" for ordinal tasks.
        task: kind of task.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C) in [0, 1].

    Returns:
        Function from (R, N) integer counts to (R,) values, NaN where undefined. A class that is undefined
        in a resample is left out of that resample's mean.

    Raises:
        ValueError: the metric does not fit the task, or an argument is malformed.
    """
    labels, probabilities = check_predictions(task, labels, probabilities)
    columns = probabilities.shape[1]
    truth = class_indicators(task, labels, columns)
    if metric == "auroc" and task != "binary":
        raise ValueError(f"metric auroc is for binary tasks, not {task}: use macro_auroc")
    if metric == "qwk" and task != "ordinal":
        raise ValueError(f"metric qwk is for ordinal tasks, not {task}")
    if metric in ("auroc", "macro_auroc"):
        return _mean_auroc(
            [auroc_statistic(truth[:, c], probabilities[:, c]) for c in positive_columns(task, columns)]
        )
    if task == "multilabel":
        guess = probabilities >= 0.5
    else:
        guess = class_indicators(task, probabilities.argmax(axis=1), columns)
    if metric == "qwk":
        return _qwk(truth, guess)
    if metric == "macro_f1":
        return _macro_f1(truth, guess)
    if metric == "accuracy":
        return _accuracy(truth, guess, task)
    if metric == "balanced_accuracy":
        return _label_balanced_accuracy(truth, guess) if task == "multilabel" else _mean_recall(truth, guess)
    raise ValueError(f"unknown metric {metric!r}: one of {', '.join(get_args(Metric))}")


def auroc_statistic(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> Statistic:
    """AUROC of one class as a function of how often each sample is drawn.

    The Mann-Whitney form: the share of (positive, negative) pairs that the score puts in order, half a pair
    for a tie. The scores are sorted once; each resample then costs one cumulative sum, in exact integers.

    Args:
        positive: (N,) whether the sample belongs to the class.
        score: (N,) finite scores.
    """
    few, many = np.flatnonzero(positive), np.flatnonzero(~positive)
    swapped = few.size > many.size
    if swapped:
        few, many = many, few
    many = many[np.argsort(score[many], kind="stable")]
    below = np.searchsorted(score[many], score[few], side="left")
    up_to = np.searchsorted(score[many], score[few], side="right")
    tied = not np.array_equal(below, up_to)

    def values(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        cumulative = np.zeros((len(counts), many.size + 1), dtype=np.int32)
        np.cumsum(counts.take(many, axis=1), axis=1, out=cumulative[:, 1:])
        drawn = counts.take(few, axis=1)
        half_wins = np.einsum("rp,rp->r", drawn, cumulative.take(below, axis=1), dtype=np.int64)
        if tied:
            half_wins += np.einsum("rp,rp->r", drawn, cumulative.take(up_to, axis=1), dtype=np.int64)
        else:
            half_wins *= 2
        half_pairs = 2 * drawn.sum(axis=1, dtype=np.int64) * cumulative[:, -1]
        return ratio(half_pairs - half_wins if swapped else half_wins, half_pairs)

    return values


def check_predictions(
    task: Task, labels: ArrayLike, probabilities: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Labels and probabilities as arrays, or a ValueError that names what does not fit."""
    if task not in get_args(Task):
        raise ValueError(f"unknown task {task!r}: one of {', '.join(get_args(Task))}")
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if probabilities.ndim != 2 or 0 in probabilities.shape:
        raise ValueError(f"probabilities: expected shape (N, C), got {probabilities.shape}")
    if task == "binary" and probabilities.shape[1] != 2:
        raise ValueError(f"probabilities: a binary task has 2 columns, got {probabilities.shape[1]}")
    if not np.isfinite(probabilities).all():
        rows = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise ValueError(f"probabilities: {rows} of {len(probabilities)} rows hold NaN or infinite values")
    if probabilities.min() < -1e-6 or probabilities.max() > 1 + 1e-6:
        raise ValueError(f"probabilities: outside [0, 1]: {probabilities.min()} to {probabilities.max()}")
    expected = probabilities.shape if task == "multilabel" else probabilities.shape[:1]
    return check_labels(task, labels, expected, probabilities.shape[1]), probabilities


def check_labels(task: Task, labels: ArrayLike, shape: tuple[int, ...], classes: int) -> NDArray[np.int64]:
    """Labels as int64 of the expected shape, or a ValueError that names what does not fit."""
    labels = np.asarray(labels)
    if labels.shape != shape:
        raise ValueError(f"labels: expected shape {shape} for a {task} task, got {labels.shape}")
    largest = 1 if task == "multilabel" else classes - 1
    numeric = np.issubdtype(labels.dtype, np.number) or labels.dtype == bool
    if not numeric or not np.isin(labels, np.arange(largest + 1)).all():
        raise ValueError(f"labels: a {task} task of {classes} classes has whole numbers from 0 to {largest}")
    return labels.astype(np.int64)


def class_indicators(task: Task, labels: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """(N, C) whether the sample has the class."""
    return labels.astype(bool) if task == "multilabel" else labels[:, None] == np.arange(classes)


def positive_columns(task: Task, columns: int) -> range:
    """The columns that have a score of their own: of a binary task that of class 1 only."""
    return range(1, 2) if task == "binary" else range(columns)


def _mean_auroc(per_class: list[Statistic]) -> Statistic:
    return lambda counts: mean_of_defined(np.stack([auroc(counts) for auroc in per_class], axis=1))


def _macro_f1(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> Statistic:
    hit = (truth & guess).astype(float)
    either = truth.astype(float) + guess

    def values(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        drawn = counts.astype(float)
        return mean_of_defined(ratio(2 * (drawn @ hit), drawn @ either))

    return values


def _accuracy(truth: NDArray[np.bool_], guess: NDArray[np.bool_], task: Task) -> Statistic:
    agree = truth == guess
    share = agree.mean(axis=1) if task == "multilabel" else agree.all(axis=1).astype(float)

    def values(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        return ratio(counts @ share, counts.sum(axis=1))

    return values


def _mean_recall(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> Statistic:
    hit, actual = (truth & guess).astype(float), truth.astype(float)

    def values(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        drawn = counts.astype(float)
        return mean_of_defined(ratio(drawn @ hit, drawn @ actual))

    return values


def _label_balanced_accuracy(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> Statistic:
    hit, actual = (truth & guess).astype(float), truth.astype(float)
    rejected, absent = (~truth & ~guess).astype(float), (~truth).astype(float)

    def values(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        drawn = counts.astype(float)
        sensitivity = ratio(drawn @ hit, drawn @ actual)
        specificity = ratio(drawn @ rejected, drawn @ absent)
        return mean_of_defined((sensitivity + specificity) / 2)

    return values


def _qwk(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> Statistic:
    """1 - observed / expected squared disagreement (Cohen 1968), over the resample's own marginals."""
    grades = np.arange(truth.shape[1], dtype=float)
    squares = (grades[:, None] - grades) ** 2
    disagreement = (truth @ grades - guess @ grades) ** 2
    actual, predicted = truth.astype(float), guess.astype(float)

    def values(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        drawn = counts.astype(float)
        expected = ((drawn @ actual @ squares) * (drawn @ predicted)).sum(axis=1)
        return 1 - ratio((drawn @ disagreement) * drawn.sum(axis=1), expected)

    return values


def ratio(numerator: NDArray[np.number], denominator: NDArray[np.number]) -> NDArray[np.float64]:
    """Quotient, NaN where the denominator is 0."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def mean_of_defined(per_class: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, C) -> (R,) mean over the classes that are not NaN; NaN where all are."""
    defined = ~np.isnan(per_class)
    return ratio(np.where(defined, per_class, 0.0).sum(axis=1), defined.sum(axis=1))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def lowest_value(metric: str) -> float:
    """What the worst possible model has: kappa goes down to -1, the other metrics to 0."""
    return -1.0 if metric == "qwk" else 0.0
