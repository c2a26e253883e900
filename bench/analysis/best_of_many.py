"""Which methods of a table cannot be told from the best, when the best was picked by looking at the table.

Testing every method against the one with the highest mean, as if that one had been named beforehand, errs in
one table of ten and more: the highest mean of many is high by luck as well. So all pairs are compared, and
the largest of all their statistics, as it would be if no two methods differed, is what each is held against
(Westfall & Young 1993, section 2.3: single-step min P). That distribution is simulated from the table itself,
a parametric bootstrap (Krishnamoorthy, Lu & Mathew 2007): patients as in the bootstrap of patients, seeds
with each row's own variance, and that variance as uncertain as S seeds leave it. A method is out once any
other is better beyond doubt. The error is family-wise over the table: in at most 1 - level of tables is any
of the truly best methods out. Multiple comparisons with the best (Hsu 1984) promise less, that one given best
method stays in, and would mark equal methods apart.
"""

import numpy as np
from numpy.typing import NDArray

from bench.summary.draws import ComparisonDraws
from imssl.seeds import numpy_generator

SIMULATIONS = 2000
# Pairs times simulations held at a time: some tens of MB.
CHUNK = 2_000_000

Array = NDArray[np.float64]


def p_of_being_best(column: ComparisonDraws, methods: list[str]) -> Array:
    """How well the data agree with each method being among the best of some.

    Args:
        column: of the leaderboard, with two seeds or more.
        methods: M of its methods.

    Returns:
        (M,) the smallest adjusted p-value of a pair in which the method has the lower mean; 1 for the best.
    """
    rows = [column.methods.index(method) for method in methods]
    p_values = np.ones(len(rows))
    if len(rows) < 2:
        return p_values
    values, draws = column.values[rows], column.mean_draws[rows]
    defined = draws[:, ~np.isnan(draws).any(axis=0)]
    table = _Table(values, defined, column.units)
    means = values.mean(axis=1)
    generator = numpy_generator(0, "best of many", *(str(part) for part in column.place))
    largest = np.sort(table.largest_by_chance(generator))
    for pair, statistic in zip(table.pairs.T, table.statistics(means, table.seed_variances), strict=True):
        above = largest.size - np.searchsorted(largest, statistic, side="left")
        worse = pair[np.argmin(means[pair])]
        if means[pair[0]] != means[pair[1]]:
            p_values[worse] = min(p_values[worse], (1 + above) / (1 + largest.size))
    return p_values


class _Table:
    """The variances of a table and all pairs of its rows."""

    def __init__(self, values: Array, draws: Array, units: int) -> None:
        """Take the variances.

        Args:
            values: (M, S) on all test patients.
            draws: (M, R) means over seeds on the resamples of patients; R may be 0.
            units: test patients.
        """
        self.seeds = values.shape[1]
        self.seed_variances = values.var(axis=1, ddof=1) / self.seeds
        self.pairs = np.stack(np.triu_indices(len(values), 1))
        few = draws.shape[1] < 2
        self.patient_noise = np.zeros((len(values), 1)) if few else draws - draws.mean(axis=1, keepdims=True)
        first, second = self.pairs
        differences = self.patient_noise[first] - self.patient_noise[second]
        self.patient_variances = (differences**2).sum(axis=1) / max(self.patient_noise.shape[1] - 1, 1)
        self.patient_freedom = max(units - 1, 1)

    def statistics(self, means: Array, seed_variances: Array) -> Array:
        """(..., pairs) Welch's t of each pair as a normal deviate, so that pairs of unlike freedom compare.

        Args:
            means: (..., M).
            seed_variances: (..., M) of the means.
        """
        first, second = self.pairs
        parts = seed_variances[..., first], seed_variances[..., second], self.patient_variances
        variance = parts[0] + parts[1] + parts[2]
        scale = np.maximum(variance, np.finfo(float).tiny)
        freedoms = self.seeds - 1, self.seeds - 1, self.patient_freedom
        inverse_freedom = sum(
            (part / scale) ** 2 / freedom for part, freedom in zip(parts, freedoms, strict=True)
        )
        freedom = 1 / np.maximum(inverse_freedom, 1e-12)
        t_squared = (means[..., first] - means[..., second]) ** 2 / scale
        # Wallace (1959): within 1% of the exact deviate, and the simulated statistics go the same way.
        return np.sqrt(freedom * np.log1p(t_squared / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)

    def largest_by_chance(self, generator: np.random.Generator) -> Array:
        """(SIMULATIONS,) the largest statistic of all pairs, were all methods equal."""
        count, chunk = len(self.seed_variances), max(1, CHUNK // self.pairs.shape[1])
        largest = []
        for start in range(0, SIMULATIONS, chunk):
            size = min(chunk, SIMULATIONS - start)
            seed_noise = np.sqrt(self.seed_variances) * generator.normal(size=(size, count))
            chi_square = generator.chisquare(self.seeds - 1, size=(size, count))
            variances = self.seed_variances * chi_square / (self.seeds - 1)
            means = self._patients_vary(size, generator) + seed_noise
            largest.append(self.statistics(means, variances).max(axis=1))
        return np.concatenate(largest)

    def _patients_vary(self, size: int, generator: np.random.Generator) -> Array:
        """(size, M) normal noise with the covariance of the resamples, uncertain as their number leaves it.

        The resamples themselves would not do: their largest values are in the variances that they are held
        against.
        """
        rows, resamples = self.patient_noise.shape
        if resamples < 2:
            return np.zeros((size, rows))
        # By eigenvectors: methods that are alike make the covariance singular.
        values, vectors = np.linalg.eigh(self.patient_noise @ self.patient_noise.T)
        noise = generator.normal(size=(size, rows)) @ (vectors * np.sqrt(np.maximum(values, 0))).T
        return noise / np.sqrt(generator.chisquare(resamples - 1, size=(size, 1)))
