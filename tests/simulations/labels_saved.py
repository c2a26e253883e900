"""How often a method is said to save labels, by how much better than the reference it is with all of them."""

import numpy as np

from bench.analysis.label_efficiency import LabelsUsed, label_efficiency
from bench.protocol.protocol import ReportSettings
from bench.summary.draws import Comparison, ComparisonDraws
from imssl.settings.labels import LabelSet

FRACTIONS, MEANS = (0.01, 0.1, 1.0), (0.6, 0.72, 0.8)
DEVIATION, PATIENT_ERROR, RESAMPLES = 0.02, 0.01, 200
SETTINGS = ReportSettings(baseline="method", resamples=RESAMPLES, level=0.95)
BUDGETS = {
    ("d", "finetune", LabelSet(fraction)): LabelsUsed(1000 * fraction, 100 * fraction)
    for fraction in FRACTIONS
}


def curve_of(gain: float, seeds: int, generator: np.random.Generator) -> list[ComparisonDraws]:
    """A reference and a method with a gain everywhere; the fractions of a run share half its variance."""
    shared = DEVIATION * np.sqrt(0.5) * generator.normal(size=(2, seeds))
    columns = []
    for fraction, mean in zip(FRACTIONS, MEANS, strict=True):
        noise = PATIENT_ERROR * generator.normal(size=(2, 1 + RESAMPLES))
        values = mean + np.array([[0.0], [gain]]) + shared + noise[:, :1]
        values = values + DEVIATION * np.sqrt(0.5) * generator.normal(size=(2, seeds))
        columns.append(
            ComparisonDraws(
                place=Comparison("d", "finetune", LabelSet(fraction), None),
                metric="qwk",
                seeds=tuple(range(seeds)),
                methods=("reference", "method"),
                values=values,
                draws=values[:, :, None] + noise[:, None, 1:],
                unit="patients",
                units=100,
                excluded={},
            )
        )
    return columns


def says_saved(gain: float, seeds: int, trials: int) -> float:
    """Share of trials in which the page says that a method saves labels.

    Args:
        gain: of the method over the reference, at every share of the labels.
        seeds: S.
        trials: runs that are simulated.
    """
    generator, said = np.random.default_rng(4), 0
    for _ in range(trials):
        curve = curve_of(gain, seeds, generator)
        table = label_efficiency(curve, ["method"], SETTINGS, ["reference"], BUDGETS, {})
        said += int(table["images_saved"].notna().sum())
    return said / trials
