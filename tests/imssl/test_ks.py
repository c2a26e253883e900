"""Kolmogorov-Smirnov distances against the definition."""

import numpy as np
import pytest

from imssl.ks import ks_distance


def largest_gap(a, b):
    """Gap between the empirical distribution functions, at every value that occurs."""
    return max(abs((a <= value).mean() - (b <= value).mean()) for value in np.concatenate([a, b]))


@pytest.mark.parametrize("task", ["multilabel", "multiclass", "ordinal"])
def test_distances_equal_the_definition(task):
    generator = np.random.default_rng(0)
    a, b = generator.dirichlet([1, 2, 3], size=200), np.round(generator.dirichlet([2, 2, 2], size=200), 2)
    result = ks_distance(a, b, task)
    expected = [largest_gap(a[:, c], b[:, c]) for c in range(3)]
    np.testing.assert_allclose(result.per_class, expected, atol=1e-12)
    assert result.mean == pytest.approx(np.mean(expected))


def test_a_binary_task_reports_the_positive_class():
    generator = np.random.default_rng(1)
    a, b = generator.random(100), generator.random(100) ** 2
    result = ks_distance(np.column_stack([1 - a, a]), np.column_stack([1 - b, b]), "binary")
    np.testing.assert_allclose(result.per_class, [largest_gap(a, b)], atol=1e-12)


def test_equal_predictions_are_at_0_and_disjoint_ones_at_1():
    low = np.full((50, 3), 0.2)
    np.testing.assert_array_equal(ks_distance(low, low, "multilabel").per_class, np.zeros(3))
    assert ks_distance(low, low + 0.5, "multilabel").mean == 1


@pytest.mark.parametrize(
    ("a", "b", "task", "named"),
    [
        (np.zeros((3, 2)), np.zeros((4, 2)), "multilabel", "same samples"),
        (np.zeros((3, 2)), np.zeros((3, 1)), "multilabel", "same samples"),
        (np.zeros((3, 2)), np.full((3, 2), np.nan), "multilabel", "probabilities_b: holds NaN"),
        (np.zeros(3), np.zeros(3), "multilabel", "probabilities_a: expected shape"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "multilabel", "probabilities_a: expected shape"),
        (np.zeros((3, 3)), np.zeros((3, 3)), "binary", "2 columns"),
    ],
)
def test_malformed_probabilities_are_refused(a, b, task, named):
    with pytest.raises(ValueError, match=named):
        ks_distance(a, b, task)
