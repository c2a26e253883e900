"""How often a difference of the size that a run is said to find is found."""

import math
from functools import partial

import numpy as np
from scipy.special import stdtr

from bench.analysis.power import detectable_effect, level_of_one
from bench.summary.estimated_mean import EstimatedMean
from tests.simulations.table_of_differences import DATASETS, FRACTIONS, LEVEL, told_apart

UNITS = 1000


def truth(deviation: float, patient_error: float, seeds: int) -> EstimatedMean:
    """A difference of two rows whose seeds scatter alike, with its true variances."""
    parts = 2 * ((deviation**2 / seeds, seeds - 1),)
    return EstimatedMean(math.nan, patient_error**2, UNITS - 1, parts, seeds=seeds, units=UNITS)


def power_of_one(
    deviation: float, patient_error: float, seeds: int, level: float, trials: int
) -> tuple[float, float]:
    """The difference that is said to be found with 80% probability, and how often it is.

    Args:
        deviation: standard deviation between seeds.
        patient_error: standard deviation of the difference over test patients.
        seeds: S.
        level: of the interval.
        trials: differences that are simulated.
    """
    generator = np.random.default_rng(8)
    effect = detectable_effect(truth(deviation, patient_error, seeds), level)
    first, second = deviation * generator.normal(size=(2, trials, seeds))
    difference = effect + patient_error * generator.normal(size=trials) + (first - second).mean(axis=1)
    # Welch's test with the patients' part, all trials at once.
    parts = [row.var(axis=1, ddof=1) / seeds for row in (first, second)] + [np.full(trials, patient_error**2)]
    variance = np.sum(parts, axis=0)
    freedoms = (seeds - 1, seeds - 1, UNITS - 1)
    inverse = sum((part / variance) ** 2 / freedom for part, freedom in zip(parts, freedoms, strict=True))
    p_values = 2 * stdtr(1 / inverse, -np.abs(difference) / np.sqrt(variance))
    return effect, float(np.mean((p_values < 1 - level) & (difference > 0)))


def power_of_marks(
    deviation: float, patient_error: float, seeds: int, methods: int, trials: int
) -> tuple[float, float]:
    """The same of the marks in a table of differences, for every method but the baseline.

    Args:
        deviation: standard deviation between seeds.
        patient_error: standard deviation of a difference over test patients.
        seeds: S.
        methods: M, the baseline among them.
        trials: tables that are simulated.
    """
    estimate, columns = truth(deviation, patient_error, seeds), DATASETS * FRACTIONS
    level = level_of_one([estimate] * columns, columns * (methods - 1), LEVEL)
    effect = detectable_effect(estimate, level)
    found = partial(told_apart, (deviation,) * methods, patient_error, seeds, trials)
    return effect, found(effect=effect)[1]
