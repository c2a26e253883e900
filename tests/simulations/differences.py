"""Errors and power of the test of one difference, by how its seed variance is estimated.

Two methods are compared over S seeds on one test set. A method's value of a seed is its true value plus a
seed effect with its own standard deviation; the effects of two methods correlate where they share seeds. The
patients' part of the difference is shared by all seeds and of known size.
"""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from bench.summary.estimated_mean import (
    EstimatedMean,
    difference_of_rows,
    mean_of_row,
    mean_over_datasets,
)

LEVEL = 0.95


@dataclass(frozen=True)
class Setting:
    """A truth.

    Attributes:
        deviations: between seeds, of both methods.
        correlation: of their seed effects.
        patient_error: standard deviation of the difference over test patients: .02 for about 100, .006 for
            about 1,000.
    """

    deviations: tuple[float, float]
    correlation: float
    patient_error: float


DEVIATIONS = ((0.02, 0.02), (0.04, 0.04), (0.005, 0.005), (0.02, 0.08), (0.02, 0.0))
ERRORS = (0.02, 0.006)
CORRELATIONS = (0.0, 0.5, 0.9)
SETTINGS = [
    Setting(deviations, correlation, patient_error)
    for patient_error, deviations, correlation in itertools.product(ERRORS, DEVIATIONS, CORRELATIONS)
    if min(deviations) > 0 or correlation == 0
]
# Methods that move against each other from seed to seed: nothing that is known does so.
OPPOSED = [Setting(deviations, -0.5, error) for error in ERRORS for deviations in DEVIATIONS[:4]]


def rejected(p_values: list[float]) -> float:
    """Share of the trials with p below 1 - LEVEL."""
    return float(np.mean(np.array(p_values) < 1 - LEVEL))


def error_rate(setting: Setting, seeds: int, trials: int, effect: float = 0.0, paired: bool = False) -> float:
    """Share of trials in which a difference is said to be there.

    Args:
        setting: the truth.
        seeds: S, 2 or more.
        trials: runs that are simulated.
        effect: true difference; 0 gives errors, anything else power.
        paired: take the variance of the differences over seeds, and not the rows' own variances.
    """
    generator = np.random.default_rng(1)
    # Two resamples of just the variance that is meant.
    draws = np.array([-1.0, 1.0]) * setting.patient_error / math.sqrt(2)
    p_values = []
    for _ in range(trials):
        first, second = generator.normal(size=(2, seeds))
        second = setting.correlation * first + math.sqrt(1 - setting.correlation**2) * second
        patients = setting.patient_error * generator.normal()
        values = effect + patients + setting.deviations[0] * first
        reference = setting.deviations[1] * second
        estimate: EstimatedMean = (
            mean_of_row(values - reference, draws, units=1000)
            if paired
            else difference_of_rows(values, reference, draws, units=1000)
        )
        p_values.append(estimate.p_value)
    return rejected(p_values)


def error_over_datasets(
    across: float, seeds: int, trials: int, datasets: int = 3, independent: bool = False
) -> float:
    """Share of trials in which the mean difference over data sets is said to be there, though it is not.

    Args:
        across: correlation of runs of one seed on different data sets.
        seeds: S.
        trials: runs that are simulated.
        datasets: that the mean is over.
        independent: add the data sets' variances, as if they shared no seeds; so it was before.
    """
    generator = np.random.default_rng(7)
    deviation, patient_error = 0.02, 0.006
    draws = np.array([-1.0, 1.0]) * patient_error / math.sqrt(2)
    p_values = []
    for _ in range(trials):
        shared, own = generator.normal(size=(2, seeds)), generator.normal(size=(datasets, 2, seeds))
        values = deviation * (math.sqrt(across) * shared + math.sqrt(1 - across) * own)
        values[:, 0] += patient_error * generator.normal(size=(datasets, 1))
        rows = [(method, -other) for method, other in values]
        estimates = [difference_of_rows(method, other, draws, units=1000) for method, other in values]
        mean = mean_over_datasets(rows, estimates)
        if independent:
            parts = [part for estimate in estimates for part in estimate.seed_parts]
            mean = replace(mean, seed_parts=tuple((v / datasets**2, freedom) for v, freedom in parts))
        p_values.append(mean.p_value)
    return rejected(p_values)
