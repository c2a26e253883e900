"""Bootstrap intervals of test metrics, with the patient as the unit that is resampled."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imssl.metrics import Metric, statistic
from imssl.seeds import derived_seed
from imssl.task import Task

# Counts held at a time: a few MB, so that the passes over them stay in cache.
CHUNK = 1_000_000


@dataclass(frozen=True)
class Interval:
    """A metric with its interval, and what was resampled for it.

    Attributes:
        value: the metric on all samples; None if undefined.
        low: lower end; None if no resample defines the metric.
        high: upper end; None if no resample defines the metric.
        level: nominal coverage, for example 0.95.
        resamples: resamples drawn, with the undefined ones.
        undefined: resamples in which the metric is undefined; they are left out.
        unit: what was resampled: "samples" where every sample is a unit of its own.
        units: how many of these there are.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    resamples: int
    undefined: int
    unit: Literal["patients", "samples"]
    units: int


def interval(
    task: Task,
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    metric: Metric,
    resamples: int,
    seed: int,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of one metric, resampling patients with replacement.

    A drawn patient brings all their samples, as often as they are drawn. With one sample to each patient
    this is the plain bootstrap over samples.

    Args:
        task: kind of task.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C) in [0, 1].
        patients: (N,) patient ids; where a source has none, one id to each sample.
        metric: name of the metric.
        resamples: number of resamples, at least 1.
        seed: seed of the resampling; equal seeds and patients give equal resamples for every metric.
        level: nominal coverage in (0, 1).

    Raises:
        ValueError: an argument is malformed, or the metric does not fit the task.
    """
    patients = np.asarray(patients)
    values = bootstrap(task, labels, probabilities, patients, metric, resamples, seed)
    low, high = percentile_interval(values, level)
    value = statistic(metric, task, labels, probabilities)(np.ones((1, len(patients)), dtype=np.int32))[0]
    units = np.unique(patients).size
    return Interval(
        value=None if np.isnan(value) else float(value),
        low=low,
        high=high,
        level=level,
        resamples=resamples,
        undefined=int(np.isnan(values).sum()),
        unit="samples" if units == patients.size else "patients",
        units=units,
    )


def bootstrap(
    task: Task,
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    metric: Metric,
    resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """The metric on every resample, for paired comparisons: two models share resamples by sharing the seed.

    Args:
        task: kind of task.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C) in [0, 1].
        patients: (N,) patient ids.
        metric: name of the metric.
        resamples: number of resamples, at least 1.
        seed: seed of the resampling.

    Returns:
        (resamples,) values, NaN where the metric is undefined.

    Raises:
        ValueError: an argument is malformed, or the metric does not fit the task.
    """
    values = statistic(metric, task, labels, probabilities)
    if np.shape(patients) != np.shape(probabilities)[:1]:
        raise ValueError(
            f"patients: expected one id for each of {len(np.asarray(probabilities))} samples, "
            f"got shape {np.shape(patients)}"
        )
    return np.concatenate([values(counts) for counts in resample_counts(patients, resamples, seed)])


def resample_counts(patients: ArrayLike, resamples: int, seed: int) -> Iterator[NDArray[np.int32]]:
    """How often each sample is drawn when patients are resampled with replacement.

    A patient's draws depend on the seed and on the rank of their id among the ids, not on the order of the
    samples, and not on the size of the chunks.

    Args:
        patients: (N,) patient ids.
        resamples: number of resamples, at least 1.
        seed: seed of the resampling.

    Yields:
        (R, N) counts of the next R resamples.

    Raises:
        ValueError: no patients, or fewer than one resample.
    """
    ids, patient = np.unique(np.asarray(patients), return_inverse=True)
    if ids.size == 0 or resamples < 1:
        raise ValueError(
            f"a bootstrap needs patients and resamples, got {ids.size} patients and {resamples} resamples"
        )
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // patient.size)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = generator.integers(ids.size, size=(count, ids.size))
        drawn += np.arange(count)[:, None] * ids.size
        times = np.bincount(drawn.ravel(), minlength=count * ids.size).reshape(count, ids.size)
        yield times.astype(np.int32).take(patient, axis=1)


def percentile_interval(values: NDArray[np.float64], level: float) -> tuple[float | None, float | None]:
    """Equal-tailed quantiles of the values that are not NaN; None twice if there are none.

    Args:
        values: (R,) values of a metric, or of a difference, on the resamples.
        level: nominal coverage in (0, 1).

    Raises:
        ValueError: the level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return None, None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_seed(dataset: str) -> int:
    """Seed of the resamples of a data set's patients: the same for all methods, so that they are paired."""
    return derived_seed(0, "bootstrap", dataset)
