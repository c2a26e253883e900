"""How often a table of equal methods marks one of them as worse than the best."""

import numpy as np

from bench.analysis.ranking.best_of_many import p_of_being_best
from bench.summary.draws import Comparison, ComparisonDraws
from imssl.settings.labels import LabelSet

LEVEL, RESAMPLES = 0.95, 1000


def column_of(
    methods: int,
    deviations: tuple[float, ...],
    patient_error: float,
    seeds: int,
    generator: np.random.Generator,
    lead: float = 0.0,
    resamples: int = RESAMPLES,
) -> ComparisonDraws:
    """A made-up column: the first method leads, the others are equal.

    Args:
        methods: M.
        deviations: standard deviations between seeds, repeated over the methods.
        patient_error: standard deviation of a difference of two methods over test patients.
        seeds: S.
        generator: draws.
        lead: of the first method.
        resamples: of patients.
    """
    spread = np.resize(deviations, methods)[:, None]
    noise = patient_error / np.sqrt(2) * generator.normal(size=(methods, 1 + resamples))
    values = 0.7 + spread * generator.normal(size=(methods, seeds)) + noise[:, :1]
    values[0] += lead
    return ComparisonDraws(
        place=Comparison("d", "finetune", LabelSet(0.1), None),
        metric="auroc",
        seeds=tuple(range(seeds)),
        methods=tuple(f"m{m}" for m in range(methods)),
        values=values,
        draws=values[:, :, None] + noise[:, None, 1:],
        unit="patients",
        units=1000,
        excluded={},
    )


def false_marks(
    methods: int,
    deviations: tuple[float, ...],
    patient_error: float,
    seeds: int,
    trials: int,
    lead: float = 0.0,
) -> float:
    """Share of tables in which any method is told apart from the best; with a lead, of methods rightly so."""
    generator = np.random.default_rng(2)
    marked = []
    for _ in range(trials):
        column = column_of(methods, deviations, patient_error, seeds, generator, lead)
        apart = p_of_being_best(column, list(column.methods)) < 1 - LEVEL
        marked.append(apart[1:].mean() if lead else apart.any())
    return float(np.mean(marked))
