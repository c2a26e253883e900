"""How often the interval of a leaderboard's cell, and that of a mean score, hold the truth."""

import numpy as np

from bench.analysis.ranking.standings import estimated_score
from tests.simulations.best_of_many import column_of
from tests.simulations.interquartile_mean import LEVELS, STEPS, columns_of

LEVEL, RESAMPLES = 0.95, 200


def covered_by_cell(deviation: float, patient_error: float, seeds: int, trials: int) -> float:
    """Share of the intervals of a cell that hold the true value.

    Args:
        deviation: standard deviation between seeds.
        patient_error: of a method's value over test patients.
        seeds: S.
        trials: cells that are simulated.
    """
    generator, covered = np.random.default_rng(9), 0
    for _ in range(trials):
        column = column_of(1, (deviation,), patient_error * np.sqrt(2), seeds, generator, resamples=RESAMPLES)
        interval = column.interval("m0", LEVEL)
        covered += interval.low <= 0.7 <= interval.high
    return covered / trials


def covered_by_score(deviation: float, patient_error: float, seeds: int, trials: int, across: float) -> float:
    """Share of the intervals of a mean score over three data sets with three label sets that hold the truth.

    Args:
        deviation: standard deviation between seeds.
        patient_error: of a method's value over test patients.
        seeds: S.
        trials: scores that are simulated.
        across: correlation of runs of one seed on different data sets.
    """
    generator, covered = np.random.default_rng(10), 0
    truth = LEVELS[:3].mean() + STEPS.mean()
    for _ in range(trials):
        columns = columns_of(3, 3, deviation, patient_error, seeds, generator, across)
        low, high = estimated_score(columns, "m0").interval(LEVEL)
        covered += low <= truth <= high
    return covered / trials
