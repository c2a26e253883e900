"""A mean over seeds with what is uncertain about it: which patients were tested, and which seeds were run.

The standard error adds variances. That of the patients is the variance of the mean over bootstrap resamples
of patients, the seeds as they are (Efron & Tibshirani 1993, chapter 6). That of the seeds is, for each row of
the table that enters, the row's own variance between seeds over their number, with S - 1 degrees of freedom:
nothing is borrowed from rows that are not compared, so a new method changes no other interval. Resampling two
to five seeds would understate that variance by the factor (S - 1) / S and could not give it tails, so the
interval is Student's instead, with the degrees of freedom of a sum of variances (Welch 1947; Satterthwaite
1946).

Seeds are shared: every method starts from the same weights and label subsets, so methods may rise and fall
together. The variance of the paired differences would profit from that, but has S - 1 degrees of freedom in
place of up to 2 (S - 1), and errs in up to 8% of cases at three seeds; the rows' own variances err in at most
7.5%, and in fewer where seeds are shared (docs/statistics.md has the simulation). The scatter that is
particular to a seed and a patient is in both parts, so the interval errs on the wide side where that scatter
dominates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class EstimatedMean:
    """A mean over seeds, or over seeds and data sets, and its uncertainty.

    Attributes:
        value: the mean, of a metric or of a difference.
        patient_variance: of the mean, over test patients; 0 where patients are not resampled.
        patient_freedom: degrees of freedom behind it.
        seed_parts: variance of the mean over seeds and its degrees of freedom, for each row that enters; none
            with one seed, which cannot show it.
        seeds: how many seeds.
        units: test patients (or samples) behind the mean; 0 where they are not resampled.
    """

    value: float
    patient_variance: float
    patient_freedom: float
    seed_parts: tuple[tuple[float, float], ...]
    seeds: int
    units: int

    @property
    def seed_variance(self) -> float:
        """Of the mean, over seeds; 0 with one seed."""
        return sum(variance for variance, _ in self.seed_parts)

    @property
    def seed_freedom(self) -> float:
        """Degrees of freedom behind it; 0 with one seed."""
        return satterthwaite(*zip(*self.seed_parts, strict=True)) if self.seed_parts else 0.0

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(self.patient_variance + self.seed_variance)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the squared standard error (Satterthwaite 1946)."""
        parts = ((self.patient_variance, self.patient_freedom), *self.seed_parts)
        return satterthwaite(*zip(*parts, strict=True))

    def interval(self, level: float) -> tuple[float, float]:
        """Student's interval; NaN where nothing says how uncertain the mean is.

        With one seed it is about other test patients only.
        """
        half = self.half_width(level)
        return self.value - half, self.value + half

    def interval_within(self, level: float, lowest: float, highest: float) -> tuple[float, float]:
        """The interval, which ends where the values themselves end."""
        low, high = self.interval(level)
        return float(np.clip(low, lowest, highest)), float(np.clip(high, lowest, highest))

    def half_width(self, level: float) -> float:
        """Half the width of the interval."""
        if not self.is_uncertainty_known:
            return math.nan
        return float(stdtrit(self.freedom, (1 + level) / 2)) * self.error if self.error > 0 else 0.0

    @property
    def p_value(self) -> float:
        """Two-sided, of a mean of 0; NaN with one seed, which cannot show how much seeds differ."""
        if self.seeds < 2:
            return math.nan
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stdtr(self.freedom, -abs(self.value) / self.error))

    @property
    def is_uncertainty_known(self) -> bool:
        """Whether patients or seeds could be varied at all."""
        return self.units > 1 or self.seeds > 1

    def scaled(self, factor: float) -> "EstimatedMean":
        """The same in a unit that is ``factor`` times finer."""
        return replace(
            self,
            value=factor * self.value,
            patient_variance=factor**2 * self.patient_variance,
            seed_parts=tuple((factor**2 * variance, freedom) for variance, freedom in self.seed_parts),
        )


def mean_of_row(values: ArrayLike, draws: ArrayLike, units: int) -> EstimatedMean:
    """The mean over seeds of one row: a method's metric, or a difference within each of its runs.

    Args:
        values: (S,) one value per seed, on all test patients.
        draws: (R,) the mean over seeds on each resample of patients; NaN where undefined; empty where
            patients are not resampled.
        units: test patients that were resampled; 0 if none.
    """
    return means_of_rows(np.asarray(values, dtype=float)[None], np.asarray(draws, dtype=float)[None], units)[
        0
    ]


def means_of_rows(values: NDArray[np.float64], draws: NDArray[np.float64], units: int) -> list[EstimatedMean]:
    """The mean over seeds of each of some rows, all at once.

    Args:
        values: (M, S), see :func:`mean_of_row`.
        draws: (M, R), likewise.
        units: likewise.
    """
    seeds = values.shape[1]
    seed_parts: list[tuple[tuple[float, float], ...]] = [()] * len(values)
    if seeds > 1:
        seed_parts = [((float(v), seeds - 1),) for v in values.var(axis=1, ddof=1) / seeds]
    return [
        EstimatedMean(
            value=float(mean),
            patient_variance=patient_variance,
            patient_freedom=max(units - 1, 0),
            seed_parts=parts,
            seeds=seeds,
            units=resampled,
        )
        for mean, parts, (patient_variance, resampled) in zip(
            values.mean(axis=1), seed_parts, _over_patients(draws, units), strict=True
        )
    ]


def difference_of_rows(
    values: ArrayLike, reference: ArrayLike, draws: ArrayLike, units: int
) -> EstimatedMean:
    """The mean over seeds of one row minus that of another, tested on the same patients.

    Args:
        values: (S,) of one method, one value per seed, on all test patients.
        reference: (S,) likewise, of the other.
        draws: (R,) the difference of their means over seeds on each resample of patients; NaN where
            undefined; empty where patients are not resampled.
        units: test patients that were resampled; 0 if none.
    """
    first, second = (mean_of_row(row, [], units=0) for row in (values, reference))
    return difference_of_means(first, second, draws, units)


def difference_of_means(
    mean: EstimatedMean, reference: EstimatedMean, draws: ArrayLike, units: int
) -> EstimatedMean:
    """One row's mean over seeds minus another's, tested on the same patients.

    The seeds' part adds each row's own variance (Welch 1947); the patients' part is that of the paired
    difference.

    Args:
        mean: of one method.
        reference: of the other.
        draws: see :func:`difference_of_rows`.
        units: likewise.
    """
    ((patient_variance, resampled),) = _over_patients(np.asarray(draws, dtype=float)[None], units)
    return EstimatedMean(
        value=mean.value - reference.value,
        patient_variance=patient_variance,
        patient_freedom=max(units - 1, 0),
        seed_parts=mean.seed_parts + reference.seed_parts,
        seeds=mean.seeds,
        units=resampled,
    )


def mean_over_datasets(
    rows: Sequence[Sequence[ArrayLike]], estimates: Sequence[EstimatedMean]
) -> EstimatedMean:
    """The plain mean of estimates on different data sets, which have no patients in common, but seeds.

    A seed decides initial weights and order on all data sets, so its runs may be high together on several.
    Each row is averaged over the data sets seed by seed, and its variance is that of these means.

    Args:
        rows: (K, S) for each data set: the rows that its estimate adds up, by seed; of a difference, those of
            a method and those of the other, negative.
        estimates: of the data sets, for the patients' part.

    Raises:
        ValueError: there are none.
    """
    if not estimates:
        raise ValueError("the mean of no estimates")
    means = [mean_of_row(row, [], units=0) for row in np.asarray(rows, dtype=float).mean(axis=0)]
    patient = [estimate.patient_variance / len(estimates) ** 2 for estimate in estimates]
    return EstimatedMean(
        value=sum(mean.value for mean in means),
        patient_variance=sum(patient),
        patient_freedom=satterthwaite(patient, [estimate.patient_freedom for estimate in estimates]),
        seed_parts=tuple(part for mean in means for part in mean.seed_parts),
        seeds=means[0].seeds,
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


def seed_multipliers(
    rows: int, seeds: int, resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Weights that turn the deviations of seeds from their mean into Student's noise of that mean.

    The weighted sum of a row's deviations is normal with the variance of the row's mean over seeds; divided
    by the root of an independent chi-square over its degrees of freedom it is Student's with S - 1 of them.
    Columns that share the weights keep the correlation that their seeds have.

    Args:
        rows: M, each with noise of its own.
        seeds: S, 2 or more.
        resamples: R.
        generator: draws.

    Returns:
        (M, S, R) weights.
    """
    normal = generator.normal(size=(rows, seeds, resamples))
    chi_square = generator.chisquare(seeds - 1, size=(rows, 1, resamples))
    return normal / np.sqrt(seeds * chi_square)


def with_seed_noise(
    mean_draws: NDArray[np.float64], values: NDArray[np.float64], multipliers: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means over seeds as patients and seeds vary.

    Args:
        mean_draws: (M, R) means over seeds on resamples of patients.
        values: (M, S) on all test patients.
        multipliers: (M, S, R) of :func:`seed_multipliers`.

    Returns:
        (M, R).
    """
    deviations = values - values.mean(axis=1, keepdims=True)
    return mean_draws + np.einsum("ms,msr->mr", deviations, multipliers)


def _over_patients(draws: NDArray[np.float64], units: int) -> list[tuple[float, int]]:
    """Variance of each row over its defined resamples, and how many units stand behind it."""
    if not np.isnan(draws).any():
        enough = draws.shape[1] > 1
        return [(float(v), units) for v in draws.var(axis=1, ddof=1)] if enough else [(0.0, 0)] * len(draws)
    defined = [row[~np.isnan(row)] for row in draws]
    return [(float(row.var(ddof=1)), units) if row.size > 1 else (0.0, 0) for row in defined]
