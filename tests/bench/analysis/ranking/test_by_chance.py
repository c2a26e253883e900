"""The largest statistic of a table against the formulas of Welch (1947) and Wallace (1959), pair by pair."""

import math

import numpy as np
import pytest

from bench.analysis.ranking.by_chance import PairsOfRows


def deviate(difference, variances, freedoms):
    """Welch's t with Satterthwaite's degrees of freedom as a normal deviate."""
    total = sum(variances)
    freedom = 1 / sum((part / total) ** 2 / free for part, free in zip(variances, freedoms, strict=True))
    t_squared = difference**2 / total
    return math.sqrt(freedom * math.log1p(t_squared / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)


@pytest.mark.parametrize("units", [2, 6, 500])
@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("spread", [0.1, 1, 30])
def test_the_largest_of_each_table_is_that_of_all_its_pairs(seeds, units, spread):
    generator = np.random.default_rng(0)
    rows, tables = 6, 40
    pairs = np.stack(np.triu_indices(rows, 1))
    draws = generator.normal(size=(rows, 50))
    table = PairsOfRows(generator.normal(size=(rows, seeds)), draws, units, pairs)
    means = generator.normal(size=(tables, rows), scale=spread)
    # Rows that are far more and far less certain than others: the largest t is then often not the clearest.
    variances = generator.chisquare(1, size=(tables, rows)) * 10.0 ** generator.integers(
        -4, 2, (tables, rows)
    )
    own = {(i, j): np.var(draws[i] - draws[j], ddof=1) for i, j in pairs.T}
    expected = [
        max(
            deviate(
                mean[i] - mean[j],
                (variance[i], variance[j], own[i, j]),
                (seeds - 1, seeds - 1, units - 1),
            )
            for i, j in pairs.T
        )
        for mean, variance in zip(means, variances, strict=True)
    ]
    np.testing.assert_allclose(table.largest(means, variances), expected, rtol=1e-9)


def test_equal_rows_without_any_scatter_have_no_statistic():
    table = PairsOfRows(np.full((3, 3), 0.5), np.empty((3, 0)), 0, np.stack(np.triu_indices(3, 1)))
    np.testing.assert_array_equal(table.largest(np.full((4, 3), 0.5), np.zeros((4, 3))), np.zeros(4))
