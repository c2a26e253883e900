"""Effects and their uncertainty: against scipy where it has the same formula, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.analysis.differences import compared
from bench.summary.paired_effect import (
    PairedEffect,
    mean_effect,
    paired_effect,
    pooled_seed_variance,
    satterthwaite,
)


def test_with_seeds_alone_it_is_the_paired_t_test():
    generator = np.random.default_rng(0)
    one, other = generator.normal(0.7, 0.1, size=(2, 5))
    estimate = paired_effect(one - other, [], units=0)
    expected = stats.ttest_rel(one, other)
    assert estimate.p_value == pytest.approx(expected.pvalue, rel=1e-12)
    interval = expected.confidence_interval(0.9)
    assert estimate.interval(0.9) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_with_one_seed_the_error_is_that_of_the_draws():
    draws = np.random.default_rng(1).normal(0.03, 0.02, size=1000)
    estimate = paired_effect([0.03], [*draws, math.nan], units=41)
    assert estimate.error == pytest.approx(np.std(draws, ddof=1), rel=1e-12)
    assert estimate.p_value == pytest.approx(2 * stats.t.sf(0.03 / np.std(draws, ddof=1), 40), rel=1e-9)
    assert (estimate.seeds, estimate.units, estimate.seed_variance) == (1, 41, 0)


def test_the_larger_variance_between_seeds_counts():
    differences = [0.1, 0.2, 0.3]  # variance 0.01
    assert paired_effect(differences, [], 0).seed_variance == pytest.approx(0.01 / 3)
    pooled = paired_effect(differences, [], 0, pooled=(0.04, 6))
    assert (pooled.seed_variance, pooled.seed_freedom) == (pytest.approx(0.04 / 3), 6)
    assert paired_effect(differences, [], 0, pooled=(0.001, 6)).seed_variance == pytest.approx(0.01 / 3)


def test_pooled_variance_is_the_residual_of_the_two_way_table():
    values = np.random.default_rng(2).normal(size=(4, 3))
    methods, seeds = np.repeat(np.eye(4), 3, axis=0), np.tile(np.eye(3), (4, 1))
    design = np.hstack([methods, seeds])
    fitted = design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
    variance, freedom = pooled_seed_variance(values)
    assert variance == pytest.approx(2 * ((values.ravel() - fitted) ** 2).sum() / 6, rel=1e-10)
    assert freedom == 6
    # With two methods it is the variance of their differences.
    assert pooled_seed_variance(values[:2])[0] == pytest.approx(np.var(values[0] - values[1], ddof=1))
    assert pooled_seed_variance(values[:1]) == pooled_seed_variance(values[:, :1]) == (0, 0)


def test_degrees_of_freedom_are_those_of_welch():
    generator = np.random.default_rng(3)
    one, other = generator.normal(size=5), generator.normal(0, 3, size=9)
    variances = [np.var(one, ddof=1) / 5, np.var(other, ddof=1) / 9]
    expected = stats.ttest_ind(one, other, equal_var=False).df
    assert satterthwaite(variances, [4, 8]) == pytest.approx(expected, rel=1e-12)
    assert satterthwaite([0, 0], [4, 8]) == 0
    assert satterthwaite([1e-300, 0], [4, 8]) == pytest.approx(4)


def test_mean_over_data_sets_adds_their_variances():
    one = PairedEffect(0.1, 0.04, 20, 0.01, 2, seeds=3, units=21)
    other = PairedEffect(0.3, 0.0, 0, 0.03, 2, seeds=3, units=0)
    mean = mean_effect([one, other])
    assert mean.effect == pytest.approx(0.2)
    assert (mean.patient_variance, mean.seed_variance) == (pytest.approx(0.01), pytest.approx(0.01))
    assert mean.error == pytest.approx(math.sqrt(0.02))
    assert (mean.seeds, mean.units) == (3, 21)
    with pytest.raises(ValueError, match="no estimates"):
        mean_effect([])


def test_an_effect_without_any_variation():
    nothing_varies = paired_effect([0.1], [], units=0)
    assert math.isnan(nothing_varies.p_value)
    assert np.isnan(nothing_varies.interval(0.95)).all()
    equal = paired_effect([0.0, 0.0], np.zeros(100), units=30)
    assert (equal.interval(0.95), equal.p_value) == ((0, 0), 1)


@pytest.mark.parametrize("seeds", [1, 3])
def test_coverage_of_the_paired_interval(make_column, seeds):
    """Binormal scores, noise that both methods share, and a skill that differs from seed to seed."""
    generator = np.random.default_rng(seeds)
    labels, spread, trials, covered = np.arange(80) % 2, 0.2 if seeds > 1 else 0.0, 400, 0
    deviation = math.sqrt(2 * (0.7**2 + 0.7**2) + spread**2)
    truth = stats.norm.cdf(1.5 / deviation) - stats.norm.cdf(1 / deviation)
    for _ in range(trials):
        skill = np.array([1.0, 1.5, 1.0])[:, None] + spread * generator.normal(size=(3, seeds))
        noise = 0.7 * generator.normal(size=80) + 0.7 * generator.normal(size=(3, 1, 80))
        column = make_column(skill[:, :, None] * labels + noise, labels, np.arange(80), resamples=150)
        low, high = compared(column, "m1", "m0").interval(0.95)
        covered += low <= truth <= high
    assert 0.93 <= covered / trials <= 0.97


def test_coverage_of_the_interval_of_a_mean(make_column):
    """Seeds as they are: the interval is about other patients, two images each."""
    generator = np.random.default_rng(8)
    labels, patients, trials, covered = np.arange(120) % 2, np.arange(120) // 2, 500, 0
    truth = stats.norm.cdf(1 / math.sqrt(2))
    for _ in range(trials):
        shared = np.repeat(generator.normal(size=60), 2) * math.sqrt(0.5)
        scores = labels + shared + math.sqrt(0.5) * generator.normal(size=(1, 1, 120))
        column = make_column(np.repeat(scores, 2, axis=1), labels, patients)
        # Both images of a patient share noise, one is healthy and one ill: pairs within a patient are rarer.
        interval = column.interval("m0", 0.95)
        within = stats.norm.cdf(1 / math.sqrt(2 * 0.5))
        expected = truth + (within - truth) / 60
        covered += interval.low <= expected <= interval.high
    assert 0.93 <= covered / trials <= 0.97
