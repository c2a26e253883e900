"""CKA against the formulas of the papers, its invariances and its null."""

import numpy as np
import pytest

from imssl.cka import PermutationNull, cka, permutation_null


def gram(x, kernel, bandwidth):
    if kernel == "linear":
        return x @ x.T
    distances = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
    squared_median = np.median(distances[np.triu_indices(len(x), 1)] ** 2)
    return np.exp(-(distances**2) / (2 * bandwidth**2 * squared_median))


def hsic_biased(k, l):  # noqa: E741
    """Gretton et al. (2005): tr(KHLH) / (n - 1)^2."""
    n = len(k)
    h = np.eye(n) - np.ones((n, n)) / n
    return np.trace(k @ h @ l @ h) / (n - 1) ** 2


def hsic_unbiased(k, l):  # noqa: E741
    """Song et al. (2012), eq. 5, term by term."""
    n, one = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    terms = np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (terms - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


def cka_by_the_papers(x, y, kernel, debiased, bandwidth):
    hsic = hsic_unbiased if debiased else hsic_biased
    k, l = gram(x, kernel, bandwidth), gram(y, kernel, bandwidth)  # noqa: E741
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def related_features(rows, width_x, width_y, seed=0):
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=(rows, 3))
    x = shared @ generator.normal(size=(3, width_x)) + generator.normal(size=(rows, width_x)) + 5
    y = shared @ generator.normal(size=(3, width_y)) + generator.normal(size=(rows, width_y)) - 2
    return x, y


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("kernel", "bandwidth"), [("linear", 1.0), ("rbf", 1.0), ("rbf", 0.3)])
@pytest.mark.parametrize("widths", [(6, 9), (60, 9), (80, 70)])
def test_cka_equals_the_formula_in_feature_and_in_sample_space(kernel, bandwidth, debiased, widths):
    x, y = related_features(41, *widths)
    expected = cka_by_the_papers(x, y, kernel, debiased, bandwidth)
    assert cka(x, y, kernel, debiased, bandwidth) == pytest.approx(expected, abs=1e-10)


def test_the_unbiased_estimate_of_a_known_hsic():
    # Linear HSIC of y = x = one standard normal feature is its squared variance, 1.
    generator = np.random.default_rng(1)
    draws = [generator.normal(size=(6, 1)) for _ in range(4000)]
    unbiased = np.mean([hsic_unbiased(x @ x.T, x @ x.T) for x in draws])
    assert unbiased == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_cka_ignores_rotation_scale_and_shift(kernel, debiased):
    x, y = related_features(50, 12, 20)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(12, 12)))
    value = cka(x, y, kernel, debiased)
    assert cka(x @ rotation, y, kernel, debiased) == pytest.approx(value, abs=1e-10)
    assert cka(1e-30 * x, 1e30 * y, kernel, debiased) == pytest.approx(value, abs=1e-10)
    assert cka(x + 100, y, kernel, debiased) == pytest.approx(value, abs=1e-8)
    assert cka(y, x, kernel, debiased) == pytest.approx(value, abs=1e-10)
    assert cka(x, -3 * x @ rotation + 1, kernel, debiased) == pytest.approx(1, abs=1e-10)


def test_bias_shows_when_features_outnumber_samples():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(120, 500)), generator.normal(size=(120, 500))
    # Independent standard normal features: E|X'Y|^2 = n d^2 and E|X'X|^2 = n d (n + d), to first order.
    assert cka(x, y, "linear", debiased=False) == pytest.approx(500 / 620, abs=0.02)
    assert abs(cka(x, y, "linear")) < 0.02
    assert cka(x, y, "rbf", debiased=False) > 0.7
    assert abs(cka(x, y, "rbf")) < 0.02


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("widths", [(5, 8), (50, 40)])
def test_null_equals_cka_of_permuted_rows(kernel, widths):
    x, y = related_features(60, *widths)
    result = permutation_null(x, y, 30, np.random.default_rng(4), kernel)
    generator = np.random.default_rng(4)
    values = np.array([cka(x, y[generator.permutation(60)], kernel) for _ in range(30)])
    assert result == PermutationNull(
        observed=pytest.approx(cka(x, y, kernel), abs=1e-12),
        mean=pytest.approx(values.mean(), abs=1e-12),
        percentile_95=pytest.approx(np.percentile(values, 95), abs=1e-12),
        p_value=1 / 31,
        permutations=30,
    )
    assert result.observed > 0.3
    assert abs(result.mean) < 0.05


def test_biased_null_shows_what_unrelated_features_give():
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(80, 300)), generator.normal(size=(80, 300))
    result = permutation_null(x, y, 99, generator, "linear", debiased=False)
    assert result.mean > 0.7
    assert result.p_value > 0.01


def test_p_values_of_unrelated_features_are_uniform():
    generator = np.random.default_rng(6)
    values = [
        permutation_null(
            generator.normal(size=(20, 3)), generator.normal(size=(20, 4)), 19, generator
        ).p_value
        for _ in range(200)
    ]
    assert np.mean(values) == pytest.approx(0.525, abs=0.06)
    assert np.mean(np.array(values) <= 0.1) == pytest.approx(0.1, abs=0.07)


@pytest.mark.parametrize(
    ("x", "y", "options", "named"),
    [
        (np.ones((8, 3)), np.eye(8), {}, "x: CKA is undefined for constant features"),
        (np.full((8, 3), 0.1), np.eye(8), {"debiased": False}, "constant"),
        (np.eye(8), np.eye(7), {}, "8 and 7 rows"),
        (np.eye(8), np.full((8, 2), np.nan), {}, "y: holds NaN"),
        (np.ones(8), np.eye(8), {}, "x: expected features of shape"),
        (np.eye(3), np.eye(3), {}, "debiased CKA of 3 rows"),
        (np.eye(8), np.eye(8), {}, "no variation left"),
        (np.eye(8)[:, :1], np.random.default_rng(0).random((8, 2)), {"kernel": "rbf"}, "bandwidth is 0"),
        (np.eye(8), np.eye(8), {"kernel": "rbf", "bandwidth": 0.0}, "bandwidth: expected"),
        (np.eye(8), np.eye(8), {"kernel": "cosine"}, "unknown kernel"),
    ],
)
def test_undefined_cases_are_refused(x, y, options, named):
    with pytest.raises(ValueError, match=named):
        cka(x, y, **options)


def test_null_needs_permutations():
    with pytest.raises(ValueError, match="permutations"):
        permutation_null(np.eye(8), np.eye(8), 0, np.random.default_rng(0))
