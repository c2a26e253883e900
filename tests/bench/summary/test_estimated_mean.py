"""Means and differences with their uncertainty: against scipy where it can, and by simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.summary.estimated_mean import (
    EstimatedMean,
    difference_of_rows,
    mean_of_row,
    mean_over_datasets,
    satterthwaite,
    seed_multipliers,
    with_seed_noise,
)
from tests.simulations.differences import SETTINGS, Setting, error_over_datasets, error_rate


def test_with_seeds_alone_a_difference_is_welch_s_test():
    generator = np.random.default_rng(0)
    values, reference = generator.normal(0.7, [[0.1], [0.02]], size=(2, 5))
    difference = difference_of_rows(values, reference, [], units=0)
    expected = stats.ttest_ind(values, reference, equal_var=False)
    assert difference.p_value == pytest.approx(expected.pvalue, rel=1e-12)
    interval = expected.confidence_interval(0.9)
    assert difference.interval(0.9) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_with_seeds_alone_a_mean_is_student_s():
    values = np.random.default_rng(1).normal(0.7, 0.1, size=4)
    row = mean_of_row(values, [], units=0)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert row.interval(0.9) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_one_seed_has_an_interval_over_patients_and_no_p():
    draws = np.random.default_rng(1).normal(0.03, 0.02, size=1000)
    difference = difference_of_rows([0.53], [0.5], [*draws, math.nan], units=41)
    assert difference.error == pytest.approx(np.std(draws, ddof=1), rel=1e-12)
    half = stats.t.ppf(0.975, 40) * np.std(draws, ddof=1)
    assert difference.interval(0.95) == pytest.approx((0.03 - half, 0.03 + half), rel=1e-9)
    assert (difference.seeds, difference.units, difference.seed_variance) == (1, 41, 0)
    assert math.isnan(difference.p_value)


def test_a_difference_knows_nothing_of_other_rows(plain_column):
    """A further method changes no interval, however noisy it is."""
    generator = np.random.default_rng(2)
    values, draws = generator.random((4, 3)), generator.random((4, 3, 50))
    noisy = plain_column([*values, [0.0, 1.0, 0.0]], [*draws, draws[0]])
    expected = plain_column(values[:2], draws[:2]).difference("m0", "m1")
    assert noisy.difference("m0", "m1") == expected
    variances = [values[row].var(ddof=1) / 3 for row in (0, 1)]
    assert expected.seed_variance == pytest.approx(sum(variances), rel=1e-12)
    assert expected.seed_freedom == pytest.approx(sum(variances) ** 2 / sum(v**2 / 2 for v in variances))


def test_degrees_of_freedom_are_those_of_welch():
    generator = np.random.default_rng(3)
    few, many = generator.normal(size=5), generator.normal(0, 3, size=9)
    variances = [np.var(few, ddof=1) / 5, np.var(many, ddof=1) / 9]
    expected = stats.ttest_ind(few, many, equal_var=False).df
    assert satterthwaite(variances, [4, 8]) == pytest.approx(expected, rel=1e-12)
    assert satterthwaite([0, 0], [4, 8]) == 0
    assert satterthwaite([1e-300, 0], [4, 8]) == pytest.approx(4)


def test_a_mean_over_data_sets_is_welch_s_test_of_the_seeds_means():
    """Seeds are shared over data sets, so their means over these are what varies."""
    generator = np.random.default_rng(4)
    values, reference = generator.normal(0.7, 0.1, size=(2, 3, 5))
    draws = 0.01 * generator.normal(size=(3, 200))
    estimates = [
        difference_of_rows(*rows, own, 41) for *rows, own in zip(values, reference, draws, strict=True)
    ]
    mean = mean_over_datasets([(a, -b) for a, b in zip(values, reference, strict=True)], estimates)
    by_seed = stats.ttest_ind(values.mean(axis=0), reference.mean(axis=0), equal_var=False)
    without_patients = replace(mean, patient_variance=0.0)
    assert without_patients.p_value == pytest.approx(by_seed.pvalue, rel=1e-12)
    # The data sets' patients have nothing in common.
    assert mean.patient_variance == pytest.approx(draws.var(axis=1, ddof=1).sum() / 9)
    assert (mean.seeds, mean.units) == (5, 3 * 41)
    with pytest.raises(ValueError, match="no estimates"):
        mean_over_datasets([], [])


@pytest.mark.parametrize("across", [0.0, 0.9])
def test_errors_of_a_mean_over_data_sets_that_share_seeds(across):
    """Taken as independent they were .10 to .23 of a nominal .05."""
    trials = 1000
    assert error_over_datasets(across, 3, trials) <= 0.075 + 3 * math.sqrt(0.075 * 0.925 / trials)


def test_a_scaled_estimate_is_the_same_in_another_unit():
    mean = EstimatedMean(0.1, 0.04, 20, ((0.01, 2),), seeds=3, units=21)
    low, high = mean.interval(0.9)
    assert mean.scaled(2).interval(0.9) == pytest.approx((2 * low, 2 * high))
    assert mean.scaled(2).p_value == pytest.approx(mean.p_value)


def test_an_effect_without_any_variation():
    nothing_varies = difference_of_rows([0.1], [0.0], [], units=0)
    assert math.isnan(nothing_varies.p_value)
    assert np.isnan(nothing_varies.interval(0.95)).all()
    equal = difference_of_rows([0.5, 0.5], [0.5, 0.5], np.zeros(100), units=30)
    assert (equal.interval(0.95), equal.p_value) == ((0, 0), 1)


def test_seed_noise_is_student_s_with_the_row_s_own_error():
    values = np.array([[0.5, 0.6, 0.8], [0.1, 0.1, 0.1]])
    multipliers = seed_multipliers(2, 3, 20_000, np.random.default_rng(3))
    means = with_seed_noise(np.zeros((2, 20_000)), values, multipliers)
    error = values[0].std(ddof=1) / math.sqrt(3)
    assert stats.kstest(means[0] / error, stats.t(2).cdf).pvalue > 0.01
    np.testing.assert_allclose(means[1], 0, atol=1e-12)
    # Columns that share the weights move together where their seeds do.
    again = with_seed_noise(np.zeros((2, 20_000)), 2 * values, multipliers)
    np.testing.assert_allclose(again, 2 * means)


@pytest.mark.parametrize(("seeds", "most"), [(3, 0.075), (5, 0.06)])
@pytest.mark.parametrize(
    "setting",
    [
        Setting((0.02, 0.02), 0.0, 0.006),
        Setting((0.02, 0.02), 0.9, 0.006),
        Setting((0.02, 0.08), 0.0, 0.02),
        Setting((0.02, 0.0), 0.0, 0.006),
    ],
    ids=str,
)
def test_errors_when_nothing_differs(setting, seeds, most):
    trials = 1500
    rate = error_rate(setting, seeds, trials)
    assert rate <= most + 3 * math.sqrt(most * (1 - most) / trials)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "most"), [(3, 0.075), (5, 0.06)])
def test_errors_in_every_setting(seeds, most):
    """Quiet and noisy rows, few and many patients, shared seeds; docs/statistics.md has longer runs."""
    rates = [error_rate(setting, seeds, 1500) for setting in SETTINGS]
    assert max(rates) <= most + 3 * math.sqrt(most * (1 - most) / 1500)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_coverage_of_a_cell_s_interval_over_patients_and_seeds(plain_column, seeds):
    generator = np.random.default_rng(seeds)
    trials, covered = 1500, 0
    for _ in range(trials):
        patients = 0.02 * generator.normal()
        values = 0.8 + patients + 0.02 * generator.normal(size=(1, seeds))
        draws = values[:, :, None] + 0.02 * generator.normal(size=60)
        interval = plain_column(values, draws).interval("m0", 0.95)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.93 <= covered / trials <= 0.97


def test_an_interval_ends_where_the_metric_ends(plain_column):
    values, draws = [[0.99, 0.7]], np.full((1, 2, 20), 0.8)
    interval = plain_column(values, draws, metric="auroc").interval("m0", 0.95)
    assert (interval.low, interval.high) == (0, 1)
    assert plain_column(values, draws, metric="qwk").interval("m0", 0.95).low < 0


def test_coverage_of_the_paired_interval(make_column):
    """Binormal scores, noise that both methods share, and a skill that differs from seed to seed."""
    seeds, generator = 3, np.random.default_rng(3)
    labels, spread, trials, covered = np.arange(80) % 2, 0.2, 400, 0
    deviation = math.sqrt(2 * (0.7**2 + 0.7**2) + spread**2)
    truth = stats.norm.cdf(1.5 / deviation) - stats.norm.cdf(1 / deviation)
    for _ in range(trials):
        skill = np.array([1.0, 1.5])[:, None] + spread * generator.normal(size=(2, seeds))
        noise = 0.7 * generator.normal(size=80) + 0.7 * generator.normal(size=(2, 1, 80))
        column = make_column(skill[:, :, None] * labels + noise, labels, np.arange(80), resamples=150)
        low, high = column.difference("m1", "m0").interval(0.95)
        covered += low <= truth <= high
    assert 0.93 <= covered / trials <= 0.98


def test_coverage_of_the_interval_of_one_seed(make_column):
    """Seeds as they are: the interval is about other patients, two images each."""
    generator = np.random.default_rng(8)
    labels, patients, trials, covered = np.arange(120) % 2, np.arange(120) // 2, 500, 0
    truth = stats.norm.cdf(1 / math.sqrt(2))
    for _ in range(trials):
        shared = np.repeat(generator.normal(size=60), 2) * math.sqrt(0.5)
        scores = labels + shared + math.sqrt(0.5) * generator.normal(size=(1, 1, 120))
        column = make_column(scores, labels, patients)
        # Both images of a patient share noise, one is healthy and one ill: pairs within a patient are rarer.
        interval = column.interval("m0", 0.95)
        within = stats.norm.cdf(1 / math.sqrt(2 * 0.5))
        expected = truth + (within - truth) / 60
        covered += interval.low <= expected <= interval.high
    assert 0.93 <= covered / trials <= 0.97
