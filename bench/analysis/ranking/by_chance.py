"""The largest difference between methods that chance alone would bring to a table.

Student's distribution with Welch's and Satterthwaite's degrees of freedom is right near .05 and too thin far
out, where the tests of a whole table are made. So what is largest by chance is simulated from the table
itself: patients as they vary over the resamples, and seeds with variances as uncertain as S seeds leave them.
The true variances are drawn from their fiducial distribution, as in generalised inference for unequal
variances (Weerahandi 1995; Hannig, Iyer & Patterson 2006). A parametric bootstrap (Krishnamoorthy, Lu &
Mathew 2007) would take those of the table for true; in a long table some are far too small by luck, and rows
look more unlike than they are.
"""

import numpy as np
from numpy.typing import NDArray

from bench.summary.draws import Comparison
from imssl.seeds import numpy_generator

SIMULATIONS = 2000
# Pairs times simulations held at a time: as many as fit a processor's cache, which is three times as fast.
CHUNK = 200_000

Array = NDArray[np.float64]


def generator_of(purpose: str, place: Comparison) -> np.random.Generator:
    """A column's own draws, which no other column or method changes."""
    share = place.labels and (place.labels.fraction or place.labels.id)
    return numpy_generator(0, purpose, *map(str, (place.dataset, place.evaluation, share, place.block)))


def adjusted_p(statistics: Array, ascending: Array) -> Array:
    """Share of simulated maxima, in ascending order, that reach each statistic; never 0."""
    above = ascending.size - np.searchsorted(ascending, statistics, side="left")
    return (1 + above) / (1 + ascending.size)


def _as_normal(t_squared: Array, freedom: Array | int) -> Array:
    """Student's t as a normal deviate, which grows with the freedom up to t itself.

    Wallace (1959): within 1% of the exact deviate, and the simulated statistics go the same way.
    """
    return np.sqrt(freedom * np.log1p(t_squared / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)


class PairsOfRows:
    """Some pairs of the rows of a column: their statistics, and how large these are by chance."""

    def __init__(self, values: Array, mean_draws: Array, units: int, pairs: NDArray[np.int_]) -> None:
        """Take the variances.

        Args:
            values: (M, S) on all test patients.
            mean_draws: (M, R) means over seeds on the resamples of patients; R may be 0, and a resample in
                which a row is undefined is left out.
            units: test patients.
            pairs: (2, P) which rows are compared.
        """
        draws = mean_draws[:, ~np.isnan(mean_draws).any(axis=0)]
        self.seeds = values.shape[1]
        self.means = values.mean(axis=1)
        self.seed_variances = values.var(axis=1, ddof=1) / self.seeds
        self.pairs = pairs
        few = draws.shape[1] < 2
        self.patient_noise = np.zeros((len(values), 1)) if few else draws - draws.mean(axis=1, keepdims=True)
        first, second = self.pairs
        differences = self.patient_noise[first] - self.patient_noise[second]
        self.patient_variances = (differences**2).sum(axis=1) / max(self.patient_noise.shape[1] - 1, 1)
        self.freedoms = self.seeds - 1, self.seeds - 1, max(units - 1, 1)

    def statistics(self) -> Array:
        """(P,) Welch's t of each pair as a normal deviate, so that pairs of unlike freedom compare."""
        first, second = self.pairs
        parts = self.seed_variances[first], self.seed_variances[second], self.patient_variances
        return self._deviates(self.means[first] - self.means[second], parts)

    def largest_by_chance(self, generator: np.random.Generator) -> Array:
        """(SIMULATIONS,) the largest statistic of all pairs, were all methods equal."""
        count, chunk = len(self.seed_variances), max(1, CHUNK // self.pairs.shape[1])
        spread = self._spread_over_patients()
        largest = []
        for start in range(0, SIMULATIONS, chunk):
            size = min(chunk, SIMULATIONS - start)
            true_variances, variances = self._seeds_vary(size, generator)
            seed_noise = np.sqrt(true_variances) * generator.normal(size=(size, count))
            means = self._patients_vary(size, spread, generator) + seed_noise
            largest.append(self.largest(means, variances))
        return np.concatenate(largest)

    def largest(self, means: Array, seed_variances: Array) -> Array:
        """(size,) the largest statistic of all pairs in each of some tables.

        As a normal deviate t is at most itself, and at least what the least freedom makes of it. So the
        largest statistic is one of those whose t is not below what the largest t is at least.

        Args:
            means: (size, M).
            seed_variances: (size, M) of the means.
        """
        first, second = self.pairs
        # A pair is a row here, as rows are faster to pick than columns.
        means, seed_variances = np.ascontiguousarray(means.T), np.ascontiguousarray(seed_variances.T)
        variance = seed_variances[first] + seed_variances[second] + self.patient_variances[:, None]
        t_squared = (means[first] - means[second]) ** 2 / np.maximum(variance, np.finfo(float).tiny)
        at_least = _as_normal(t_squared.max(axis=0), min(self.freedoms)) ** 2
        # A little lower: the two sides are rounded.
        candidates = np.flatnonzero(t_squared >= 0.999999 * at_least)
        pair, simulation = np.divmod(candidates, len(at_least))
        rows = (first[pair], simulation), (second[pair], simulation)
        parts = seed_variances[rows[0]], seed_variances[rows[1]], self.patient_variances[pair]
        largest = np.zeros(means.shape[1])
        np.maximum.at(largest, simulation, self._deviates(means[rows[0]] - means[rows[1]], parts))
        return largest

    def _deviates(self, differences: Array, parts: tuple[Array, Array, Array]) -> Array:
        """Differences, whose variance has three parts, as normal deviates; all of one shape."""
        scale = np.maximum(parts[0] + parts[1] + parts[2], np.finfo(float).tiny)
        inverse_freedom = sum(
            (part / scale) ** 2 / freedom for part, freedom in zip(parts, self.freedoms, strict=True)
        )
        return _as_normal(differences**2 / scale, 1 / np.maximum(inverse_freedom, 1e-12))

    def _seeds_vary(self, size: int, generator: np.random.Generator) -> tuple[Array, Array]:
        """Variances that rows may truly have, and what S seeds would then show of them, (size, M) each."""
        freedom, shape = self.seeds - 1, (size, len(self.seed_variances))
        true = self.seed_variances * freedom / generator.chisquare(freedom, size=shape)
        return true, true * generator.chisquare(freedom, size=shape) / freedom

    def _spread_over_patients(self) -> Array:
        """(M, M) a root of the covariance of the resamples, times their number.

        By eigenvectors: methods that are alike make the covariance singular.
        """
        values, vectors = np.linalg.eigh(self.patient_noise @ self.patient_noise.T)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))

    def _patients_vary(self, size: int, spread: Array, generator: np.random.Generator) -> Array:
        """(size, M) normal noise with the covariance of the resamples, uncertain as their number leaves it.

        The resamples themselves would not do: their largest values are in the variances that they are held
        against.
        """
        rows, resamples = self.patient_noise.shape
        if resamples < 2:
            return np.zeros((size, rows))
        noise = generator.normal(size=(size, rows)) @ spread.T
        return noise / np.sqrt(generator.chisquare(resamples - 1, size=(size, 1)))
