"""What a run can show: against simulation and normal quantiles."""

import math
from dataclasses import replace

import pytest
from scipy import stats

from bench.analysis.differences import DifferenceRow
from bench.analysis.power import (
    POWER,
    detectable_effect,
    level_of_one,
    plan_power,
    power_of,
    seeds_needed,
    with_seeds,
)
from bench.summary.estimated_mean import EstimatedMean
from tests.simulations.power import power_of_marks, power_of_one


def estimate(seeds=5, deviation=0.02, patient=0.0):
    """Two rows whose seeds scatter alike."""
    return EstimatedMean(
        math.nan, patient**2, 1000, 2 * ((deviation**2 / seeds, seeds - 1),), seeds=seeds, units=1001
    )


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 12])
@pytest.mark.parametrize(("deviation", "patient_error"), [(0.02, 0.006), (0.02, 0.02), (0.02, 0.0)])
def test_power_is_as_stated(deviation, patient_error, level, seeds):
    """By simulation: with the variances taken as known it was .52 to .78 at three seeds."""
    _, found = power_of_one(deviation, patient_error, seeds, level, trials=20_000)
    assert found == pytest.approx(POWER, abs=0.01)


def test_without_scatter_between_seeds_power_is_that_of_the_normal_test():
    quantile = stats.norm.ppf(0.975)
    expected = stats.norm.sf(quantile - 0.03 / 0.01)
    many = replace(estimate(deviation=1e-9, patient=0.01), patient_freedom=1e6)
    assert power_of(0.03, many, 0.95) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("seeds", "patient_error"), [(3, 0.02), (5, 0.006)])
def test_power_of_the_marks_of_a_table_is_as_stated(seeds, patient_error):
    _, found = power_of_marks(0.02, patient_error, seeds, methods=4, trials=60)
    assert found == pytest.approx(POWER, abs=0.08)


def test_the_level_of_one_test_is_sidak_s_where_variances_are_known():
    patients_alone = replace(estimate(deviation=1e-9, patient=0.01), patient_freedom=1e6)
    level = level_of_one([patients_alone] * 3, tests=27, level=0.95)
    assert 1 - level == pytest.approx(1 - 0.95 ** (1 / 27), rel=0.01)
    # Tails of a handful of seeds are thicker.
    assert level_of_one([estimate(seeds=3, patient=0.006)] * 3, 27, 0.95) > 1 - (1 - level) / 5


def test_more_seeds_find_less_until_the_patients_are_all_that_is_left():
    effects = [
        detectable_effect(with_seeds(estimate(patient=0.01), seeds), 0.95) for seeds in (3, 5, 20, 900)
    ]
    assert effects == sorted(effects, reverse=True)
    # With the patients' error alone: the normal quantiles of level and power.
    assert effects[-1] == pytest.approx(0.01 * (1.96 + 0.8416), rel=0.02)
    assert math.isnan(detectable_effect(estimate(seeds=1), 0.95))
    assert power_of(0.01, estimate(deviation=0.0), 0.95) == 1


def test_seeds_needed_are_the_least_that_find_it():
    level = lambda seeds: 0.95  # noqa: E731
    needed = seeds_needed(0.02, estimate(), level, least_seeds=3)
    assert power_of(0.02, with_seeds(estimate(), needed), 0.95) >= POWER
    assert power_of(0.02, with_seeds(estimate(), needed - 1), 0.95) < POWER
    assert seeds_needed(0.5, estimate(), level, least_seeds=3) == 3
    assert seeds_needed(0.02, estimate(patient=0.02), level, least_seeds=3) is None


def test_a_plan_takes_the_median_scatter_and_the_patients_of_the_run():
    place = {
        "dataset": "d",
        "evaluation": "finetune",
        "fraction": 0.1,
        "labels_per_class": None,
        "block": None,
    }
    rows = [
        DifferenceRow.model_construct(**place, patient_error=0.02, seed_error=error, seeds=2, units=100)
        for error in (0.01, 0.02, 0.5)
    ]
    single = DifferenceRow.model_construct(**place, patient_error=0.02, seed_error=None, seeds=1, units=100)
    (column,) = plan_power([*rows, single], 3, {"d": 400}, 0.1, 0.95, {"finetune": 1}, least_seeds=3)
    assert column.seed_deviation == pytest.approx(0.02 * math.sqrt(2))
    assert column.seeds == 3
    assert (column.patient_error, column.patients) == (pytest.approx(0.01), 400)
    assert column.seeds_needed >= 3
    assert plan_power([single], 3, {}, 0.1, 0.95, {}, 3) == []
    # With one seed nothing is found: the plan says what the least would find.
    (few,) = plan_power([*rows, single], 1, {"d": 400}, 0.1, 0.95, {"finetune": 1}, least_seeds=3)
    assert few == column
    (many,) = plan_power(rows, 3, {"d": 400}, 0.1, 0.95, {"finetune": 27}, least_seeds=3)
    assert many.detectable > column.detectable
    assert many.seeds_needed > column.seeds_needed
