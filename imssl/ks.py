"""How differently two models distribute their predicted probabilities on the same test samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from imssl.task import Task


@dataclass(frozen=True)
class KsDistance:
    """Two-sample Kolmogorov-Smirnov distances between predicted probabilities.

    Attributes:
        per_class: (C,) distances in [0, 1]; (1,), the positive class, for a binary task.
        mean: their mean.
    """

    per_class: NDArray[np.float64]
    mean: float


def ks_distance(probabilities_a: ArrayLike, probabilities_b: ArrayLike, task: Task) -> KsDistance:
    """Largest gap between the empirical distributions of two models' probabilities, class by class.

    Only the statistic is used: the two-sample p-value assumes independent samples, and both models predict
    the same ones.

    Args:
        probabilities_a: (N, C), one model's probabilities.
        probabilities_b: (N, C), the other's, on the same samples.
        task: kind of task; the two columns of a binary task mirror each other, so one is reported.

    Raises:
        ValueError: the shapes differ, there are no samples, or a value is not finite.
    """
    a, b = np.asarray(probabilities_a, dtype=float), np.asarray(probabilities_b, dtype=float)
    for name, probabilities in (("probabilities_a", a), ("probabilities_b", b)):
        if probabilities.ndim != 2 or 0 in probabilities.shape:
            raise ValueError(f"{name}: expected shape (N, C), got {probabilities.shape}")
        if not np.isfinite(probabilities).all():
            raise ValueError(f"{name}: holds NaN or infinite values")
    if a.shape != b.shape:
        raise ValueError(
            f"both models must predict the same samples and classes, got {a.shape} and {b.shape}"
        )
    if task == "binary" and a.shape[1] != 2:
        raise ValueError(f"a binary task has 2 columns of probabilities, got {a.shape[1]}")
    columns = [1] if task == "binary" else range(a.shape[1])
    # The p-value is not used, and the asymptotic one is the cheapest to compute.
    per_class = np.array([stats.ks_2samp(a[:, c], b[:, c], method="asymp").statistic for c in columns])
    return KsDistance(per_class, float(per_class.mean()))
