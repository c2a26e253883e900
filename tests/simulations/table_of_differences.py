"""How often a table of differences to the baseline says that any method differs, though none does; and power.

Three data sets with three label sets each, and four methods: 27 tests, as on a page of the demo.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.analysis.differences import paired_differences
from bench.protocol.protocol import ReportSettings
from bench.summary.draws import Comparison, ComparisonDraws
from imssl.settings.labels import LabelSet
from tests.simulations.best_of_many import column_of

DATASETS, FRACTIONS, LEVEL = 3, 3, 0.95
SETTINGS = ReportSettings(baseline="m0", resamples=200, level=LEVEL)


def columns_of(
    deviations: tuple[float, ...],
    patient_error: float,
    seeds: int,
    generator: np.random.Generator,
    effect: float = 0.0,
) -> list[ComparisonDraws]:
    """A table of columns in which the baseline, the first method, is behind the others by an effect."""
    return [
        replace(
            column_of(
                len(deviations), deviations, patient_error, seeds, generator, -effect, SETTINGS.resamples
            ),
            place=Comparison(f"d{d}", "finetune", LabelSet((f + 1) / FRACTIONS), None),
        )
        for d in range(DATASETS)
        for f in range(FRACTIONS)
    ]


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's (1979) step-down correction, by which tables were corrected before."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(order.size, 0, -1)
    adjusted = np.empty(order.size)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def told_apart(
    deviations: tuple[float, ...], patient_error: float, seeds: int, trials: int, effect: float = 0.0
) -> tuple[float, float]:
    """Share of tables with any method told from the baseline, before (Holm) and now.

    With an effect: share of the methods that are told apart, in the right direction.

    Args:
        deviations: standard deviations between seeds, of the baseline first.
        patient_error: standard deviation of a difference over test patients.
        seeds: S.
        trials: tables that are simulated.
        effect: of every method but the baseline.
    """
    generator = np.random.default_rng(6)
    methods = [f"m{m}" for m in range(len(deviations))]
    before, now = [], []
    for _ in range(trials):
        columns = columns_of(deviations, patient_error, seeds, generator, effect)
        table = paired_differences(columns, methods, SETTINGS)
        for found, apart in ((before, holm(table["p"]) < 1 - LEVEL), (now, table["distinguishable"])):
            right = apart & (table["effect"] > 0)
            found.append(right.mean() if effect else apart.any())
    return float(np.mean(before)), float(np.mean(now))
