"""How often the interval of the interquartile mean covers what so many seeds give on average."""

import numpy as np

from bench.analysis.aggregates import estimated_iqm
from bench.summary.draws import Comparison, ComparisonDraws
from imssl.settings.labels import LabelSet

LEVEL, RESAMPLES = 0.95, 60
# Data sets are unlike in level, and label fractions too.
LEVELS = np.array([0.5, 0.7, 0.55, 0.8, 0.6, 0.9])
STEPS = np.array([0.0, 0.05, 0.15])


def columns_of(
    datasets: int,
    fractions: int,
    deviation: float,
    patient_error: float,
    seeds: int,
    generator: np.random.Generator,
    across: float = 0.0,
) -> list[ComparisonDraws]:
    """One method's kappas; runs of a data set share half of their seed variance or more, and its patients."""
    columns = []
    within = max(across, 0.5)
    everywhere = np.sqrt(across) * generator.normal(size=seeds)
    for d in range(datasets):
        shared = deviation * (everywhere + np.sqrt(within - across) * generator.normal(size=seeds))
        patients = patient_error * generator.normal(size=1 + RESAMPLES)
        for f in range(fractions):
            values = LEVELS[d] + STEPS[f] + shared + patients[0]
            values = values + deviation * np.sqrt(1 - within) * generator.normal(size=seeds)
            columns.append(
                ComparisonDraws(
                    place=Comparison(f"d{d}", "finetune", LabelSet((f + 1) / fractions), None),
                    metric="qwk",
                    seeds=tuple(range(seeds)),
                    methods=("m0",),
                    values=values[None],
                    draws=values[None, :, None] + patients[1:],
                    unit="patients",
                    units=100,
                    excluded={},
                )
            )
    return columns


def coverage(
    datasets: int,
    fractions: int,
    deviation: float,
    patient_error: float,
    seeds: int,
    trials: int,
    across: float = 0.0,
) -> float:
    """Share of intervals that hold the mean of all trials' interquartile means.

    Args:
        datasets: up to 6.
        fractions: up to 3 of each data set; columns are data sets times fractions.
        deviation: standard deviation between seeds.
        patient_error: standard deviation over test patients.
        seeds: S.
        trials: runs that are simulated.
        across: correlation of runs of one seed on different data sets.
    """
    generator = np.random.default_rng(3)
    estimates = []
    for _ in range(trials):
        columns = columns_of(datasets, fractions, deviation, patient_error, seeds, generator, across)
        estimates.append(estimated_iqm(columns, "m0"))
    truth = np.mean([estimate.value for estimate in estimates])
    intervals = [estimate.interval(LEVEL) for estimate in estimates]
    return float(np.mean([low <= truth <= high for low, high in intervals]))
