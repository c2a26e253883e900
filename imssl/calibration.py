"""Whether predicted probabilities are what they say: Brier score, calibration error, reliability diagram."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imssl.metrics import Statistic, check_predictions, class_indicators, ratio
from imssl.task import Task

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: what was predicted against what happened, bin by bin.

    Attributes:
        confidence: (K,) mean predicted probability of each bin, ascending.
        frequency: (K,) share of the bin's samples in which it came true.
        samples: (K,) int64, samples in the bin.
    """

    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]
    samples: NDArray[np.int64]

    @property
    def calibration_error(self) -> float:
        """Mean gap between the two, each bin weighted by its samples."""
        gaps = np.abs(self.confidence - self.frequency)
        return float((self.samples * gaps).sum() / self.samples.sum())


def brier_statistic(task: Task, labels: ArrayLike, probabilities: ArrayLike) -> Statistic:
    """Brier score (1950) as a function of how often each sample is drawn: counts (R, N) -> (R,).

    The mean squared difference of probability and outcome: of class 1 for a binary task and averaged over
    the labels for a multilabel one, in [0, 1]; otherwise summed over the classes, in [0, 2].

    Args:
        task: kind of task.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C) in [0, 1]; C = 2 for binary.

    Raises:
        ValueError: an argument is malformed.
    """
    labels, probabilities = check_predictions(task, labels, probabilities)
    squares = (probabilities - class_indicators(task, labels, probabilities.shape[1])) ** 2
    if task == "binary":
        by_sample = squares[:, 1]
    else:
        by_sample = squares.mean(axis=1) if task == "multilabel" else squares.sum(axis=1)
    return lambda counts: ratio(counts @ by_sample, counts.sum(axis=1))


def brier_score(task: Task, labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Brier score of one set of predictions; see `brier_statistic`."""
    once = np.ones((1, len(np.asarray(probabilities))), dtype=np.int64)
    return float(brier_statistic(task, labels, probabilities)(once)[0])


def calibration_error_statistic(
    task: Task, labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS
) -> Statistic:
    """Expected calibration error as a function of counts (R, N) -> (R,).

    The bins are of equal mass on the samples as they are (see `reliability`) and stay so in a resample. With
    few samples the error is biased upwards, the more the more bins: a perfect model has one above 0.

    Args:
        task: as `reliability`; for multilabel the errors of the labels are averaged.
        labels: as `reliability`.
        probabilities: as `reliability`.
        bins: at most so many.

    Raises:
        ValueError: an argument is malformed.
    """
    labels, probabilities = check_predictions(task, labels, probabilities)
    predicted, came_true = _outcomes(task, labels, probabilities)
    tables = [(np.eye(bins)[_bin_of(p, bins)], p - y) for p, y in zip(predicted.T, came_true.T, strict=True)]

    def values(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        drawn = counts.astype(float)
        gaps = [np.abs((drawn * excess) @ member).sum(axis=1) for member, excess in tables]
        return ratio(np.mean(gaps, axis=0), drawn.sum(axis=1))

    return values


def calibration_error(task: Task, labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error of one set of predictions; see `calibration_error_statistic`."""
    once = np.ones((1, len(np.asarray(probabilities))), dtype=np.int64)
    return float(calibration_error_statistic(task, labels, probabilities, bins)(once)[0])


def reliability(
    task: Task, labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS
) -> list[Reliability]:
    """Points of the reliability diagram, in bins of equal mass.

    Of a binary task the probability of class 1 and whether it is; of a multilabel task the same for each
    label; otherwise the probability of the predicted class and whether it is right (Guo et al. 2017). The
    bins' edges are the quantiles of the probabilities, so that each holds about N / bins samples (Nguyen &
    O'Connor 2015); equal probabilities share a bin, and empty bins are left out.

    Args:
        task: kind of task.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C) in [0, 1]; C = 2 for binary.
        bins: at most so many.

    Returns:
        One diagram, or one for each label of a multilabel task.

    Raises:
        ValueError: an argument is malformed.
    """
    labels, probabilities = check_predictions(task, labels, probabilities)
    predicted, came_true = _outcomes(task, labels, probabilities)
    return [_diagram(p, y, bins) for p, y in zip(predicted.T, came_true.T, strict=True)]


def _outcomes(
    task: Task, labels: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is predicted with which probability, and whether it came true: (N, 1), or (N, C) multilabel."""
    if task == "multilabel":
        return probabilities.astype(float), labels.astype(float)
    if task == "binary":
        return probabilities[:, 1:].astype(float), (labels[:, None] == 1).astype(float)
    guess = probabilities.argmax(axis=1)
    return probabilities.max(axis=1, keepdims=True).astype(float), (labels == guess)[:, None].astype(float)


def _bin_of(probability: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """(N,) bin of each sample, from 0; the edges between bins are quantiles of the probabilities."""
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, got {bins}")
    edges = np.quantile(probability, np.arange(1, bins) / bins)
    return np.searchsorted(edges, probability, side="left")


def _diagram(probability: NDArray[np.float64], came_true: NDArray[np.float64], bins: int) -> Reliability:
    bin_of = _bin_of(probability, bins)
    samples = np.bincount(bin_of, minlength=bins)
    used = samples > 0
    predicted, happened = (np.bincount(bin_of, v, minlength=bins)[used] for v in (probability, came_true))
    return Reliability(predicted / samples[used], happened / samples[used], samples[used])
