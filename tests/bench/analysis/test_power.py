"""What a run can show: against simulation and normal quantiles."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.analysis.differences import DifferenceRow
from bench.analysis.power import POWER, detectable_effect, plan_power, power_of, seeds_needed, with_seeds
from bench.summary.estimated_mean import EstimatedMean


def estimate(seeds=5, deviation=0.02, patient=0.0):
    """Two rows whose seeds scatter alike."""
    return EstimatedMean(
        math.nan, patient**2, 1000, 2 * deviation**2 / seeds, 2 * (seeds - 1), seeds=seeds, units=1001
    )


def test_power_is_that_of_the_t_test_by_simulation():
    generator = np.random.default_rng(0)
    effect = detectable_effect(estimate(), 0.95)
    first, second = 0.02 * generator.normal(size=(2, 20_000, 5))
    found = stats.ttest_ind(first + effect, second, axis=1)
    share = ((found.pvalue < 0.05) & (found.statistic > 0)).mean()
    assert share == pytest.approx(POWER, abs=3 * math.sqrt(0.8 * 0.2 / 20_000))


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
    needed = seeds_needed(0.02, estimate(), 0.95, least_seeds=3)
    assert power_of(0.02, with_seeds(estimate(), needed), 0.95) >= POWER
    assert power_of(0.02, with_seeds(estimate(), needed - 1), 0.95) < POWER
    assert seeds_needed(0.5, estimate(), 0.95, least_seeds=3) == 3
    assert seeds_needed(0.02, estimate(patient=0.02), 0.95, least_seeds=3) is None


def test_a_plan_takes_the_median_scatter_and_the_patients_of_the_run():
    place = {"dataset": "d", "evaluation": "finetune", "fraction": 0.1, "block": None}
    rows = [
        DifferenceRow.model_construct(**place, patient_error=0.02, seed_error=error, seeds=2, units=100)
        for error in (0.01, 0.02, 0.5)
    ]
    single = DifferenceRow.model_construct(**place, patient_error=0.02, seed_error=None, seeds=1, units=100)
    (column,) = plan_power([*rows, single], 3, {"d": 400}, effect=0.1, level=0.95, least_seeds=3)
    assert column.seed_deviation == pytest.approx(0.02 * math.sqrt(2))
    assert (column.patient_error, column.patients) == (pytest.approx(0.01), 400)
    assert column.seeds_needed >= 3
    assert plan_power([single], 3, {}, 0.1, 0.95, 3) == []
