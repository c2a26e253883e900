"""An effect with what is uncertain about it: which patients were tested, and which seeds were run.

The standard error adds two variances. That of the patients is the variance of the effect over bootstrap
resamples of patients, the seeds as they are (Efron & Tibshirani 1993, chapter 6). That of the seeds is the
variance of the effect between seeds over their number. Resampling two to five seeds would understate the
latter by the factor (S - 1) / S and could not give it tails, so the interval is Student's instead, with the
degrees of freedom of a sum of variances (Satterthwaite 1946). The scatter that is particular to a seed and a
patient is in both terms, so the interval errs on the wide side where that scatter dominates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class PairedEffect:
    """An effect and its uncertainty.

    Attributes:
        effect: a mean over seeds, or over seeds and data sets.
        patient_variance: of the effect, over test patients; 0 where patients are not resampled.
        patient_freedom: degrees of freedom behind it.
        seed_variance: of the effect, over seeds; 0 with one seed, which cannot show it.
        seed_freedom: degrees of freedom behind it; 0 with one seed.
        seeds: how many seeds.
        units: test patients (or samples) behind the effect; 0 where they are not resampled.
    """

    effect: float
    patient_variance: float
    patient_freedom: float
    seed_variance: float
    seed_freedom: float
    seeds: int
    units: int

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(self.patient_variance + self.seed_variance)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the squared standard error (Satterthwaite 1946)."""
        return satterthwaite(
            [self.patient_variance, self.seed_variance], [self.patient_freedom, self.seed_freedom]
        )

    def interval(self, level: float) -> tuple[float, float]:
        """Student's interval; NaN where nothing says how uncertain the effect is."""
        half = self.half_width(level)
        return self.effect - half, self.effect + half

    def half_width(self, level: float) -> float:
        """Half the width of the interval."""
        if not self.is_uncertainty_known:
            return math.nan
        return float(stdtrit(self.freedom, (1 + level) / 2)) * self.error if self.error > 0 else 0.0

    @property
    def p_value(self) -> float:
        """Two-sided, of no effect; NaN where nothing says how uncertain the effect is."""
        if not self.is_uncertainty_known:
            return math.nan
        if self.error == 0:
            return 1.0 if self.effect == 0 else 0.0
        return float(2 * stdtr(self.freedom, -abs(self.effect) / self.error))

    @property
    def is_uncertainty_known(self) -> bool:
        """Whether patients or seeds could be varied at all."""
        return self.units > 1 or self.seeds > 1


def paired_effect(
    differences: ArrayLike, draws: ArrayLike, units: int, pooled: tuple[float, int] = (0.0, 0)
) -> PairedEffect:
    """The mean over seeds of a paired difference.

    Args:
        differences: (S,) one difference per seed, on all test patients.
        draws: (R,) the mean over seeds of the difference on each resample of patients; NaN where undefined;
            empty where patients are not resampled.
        units: test patients that were resampled; 0 if none.
        pooled: variance of a difference between seeds and its degrees of freedom, pooled over the methods of
            the same column (:func:`pooled_seed_variance`). With two or three seeds a pair's own variance is
            small by luck now and then; the larger of the two variances is taken, and the larger of their
            degrees of freedom.
    """
    differences = np.asarray(differences, dtype=float)
    draws = np.asarray(draws, dtype=float)
    defined = draws[~np.isnan(draws)]
    seeds = differences.size
    own = float(differences.var(ddof=1)) if seeds > 1 else 0.0
    return PairedEffect(
        effect=float(differences.mean()),
        patient_variance=float(defined.var(ddof=1)) if defined.size > 1 else 0.0,
        patient_freedom=max(units - 1, 0),
        seed_variance=max(own, pooled[0]) / seeds if seeds > 1 else 0.0,
        seed_freedom=max(seeds - 1, pooled[1]) if seeds > 1 else 0,
        seeds=seeds,
        units=units if defined.size > 1 else 0,
    )


def pooled_seed_variance(values: NDArray[np.float64]) -> tuple[float, int]:
    """Variance between seeds of the difference of two methods, pooled over all methods of a column.

    What a seed does to every method alike is taken out first: it cancels in a paired difference. This is the
    residual of methods x seeds, twice, as a difference has two methods.

    Args:
        values: (M, S) the metric of M methods and S seeds.

    Returns:
        The variance and its degrees of freedom, (M - 1)(S - 1); (0, 0) with one method or one seed.
    """
    methods, seeds = values.shape
    freedom = (methods - 1) * (seeds - 1)
    if freedom < 1:
        return 0.0, 0
    residual = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return 2 * float((residual**2).sum()) / freedom, freedom


def mean_effect(estimates: Sequence[PairedEffect]) -> PairedEffect:
    """The plain mean of estimates on different data sets, which have neither patients nor runs in common.

    Raises:
        ValueError: there are none.
    """
    if not estimates:
        raise ValueError("the mean of no estimates")
    count = len(estimates)
    patient = [estimate.patient_variance / count**2 for estimate in estimates]
    seed = [estimate.seed_variance / count**2 for estimate in estimates]
    return PairedEffect(
        effect=sum(estimate.effect for estimate in estimates) / count,
        patient_variance=sum(patient),
        patient_freedom=satterthwaite(patient, [estimate.patient_freedom for estimate in estimates]),
        seed_variance=sum(seed),
        seed_freedom=satterthwaite(seed, [estimate.seed_freedom for estimate in estimates]),
        seeds=min(estimate.seeds for estimate in estimates),
        units=sum(estimate.units for estimate in estimates),
    )


def satterthwaite(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variances (Satterthwaite 1946); 0 if the sum is 0."""
    total = sum(variances)
    parts = [
        (variance, freedom) for variance, freedom in zip(variances, freedoms, strict=True) if variance > 0
    ]
    if total <= 0 or any(freedom <= 0 for _, freedom in parts):
        return 0.0
    # Relative variances: the square of a tiny variance would underflow to 0.
    return 1 / sum((variance / total) ** 2 / freedom for variance, freedom in parts)
