"""Coverage of the interval of a difference in CKA between two methods: over patients and seeds, or seeds."""

import numpy as np

from bench.analysis.reproduction.other_patients import contrast_left_out, jackknife_variance, with_patients
from bench.summary.estimated_mean import difference_of_rows
from imssl.cka import cka
from imssl.cka_interval import patient_interval

WIDTHS, SHARED = (12, 14), 5
STRENGTHS = (0.9, 0.6)
MAPS = [np.random.default_rng(0).normal(size=(SHARED, width)) for width in WIDTHS]


def truth(strength: float) -> float:
    """Linear CKA of infinitely many patients: of the covariances."""
    a, b = MAPS
    own = [m.T @ m + 4 * np.eye(m.shape[1]) for m in MAPS]
    cross = strength * a.T @ b
    return float((cross**2).sum() / np.sqrt((own[0] ** 2).sum() * (own[1] ** 2).sum()))


def coverage(
    patients: int, images: int, alike: float, seeds: int, deviation: float, trials: int
) -> tuple[float, float]:
    """Share of 95% intervals that hold the true difference: over patients and seeds, and over seeds only.

    All methods and seeds see the same images of the same patients. What fine-tuning keeps of the features
    varies from seed to seed.

    Args:
        patients: P.
        images: of each.
        alike: correlation of the images of one patient.
        seeds: S.
        deviation: standard deviation over seeds of what is kept.
        trials: that are simulated.
    """
    generator = np.random.default_rng([patients, images, seeds, round(1000 * deviation)])
    true, inside = truth(STRENGTHS[0]) - truth(STRENGTHS[1]), np.zeros(2)
    names = np.repeat(np.arange(patients), images)

    def normal(width: int) -> np.ndarray:
        own, common = (generator.normal(size=(patients, n, width)) for n in (images, 1))
        return (np.sqrt(alike) * common + np.sqrt(1 - alike) * own).reshape(-1, width)

    for _ in range(trials):
        shared, other = normal(SHARED), normal(SHARED)
        noise = [2 * normal(width) for width in WIDTHS]
        values, cells = np.empty((2, seeds)), []
        for method, strength in enumerate(STRENGTHS):
            of_seeds = []
            for seed in range(seeds):
                kept = min(strength + deviation * generator.normal(), 1.0)
                after = kept * shared + np.sqrt(1 - kept**2) * other
                x, y = shared @ MAPS[0] + noise[0], after @ MAPS[1] + noise[1]
                found = patient_interval(x, y, names)
                values[method, seed] = cka(x, y)
                of_seeds.append({"patients": np.unique(names), "0.1": found.left_out[None]})
            cells.append(contrast_left_out(of_seeds, ["0.1"], {1: 1.0}))
        seeds_only = difference_of_rows(*values, [], units=0)
        both = with_patients(seeds_only, jackknife_variance(cells[0] - cells[1]), patients)
        for place, estimate in enumerate((both, seeds_only)):
            low, high = estimate.interval(0.95)
            inside[place] += low <= true <= high
    return float(inside[0] / trials), float(inside[1] / trials)
