"""Paired differences: the correction, its error under the null, planted differences, holes."""

import numpy as np
import pytest
from scipy import stats

from bench.analysis.differences import DifferenceRow, holm, paired_differences
from bench.summary.draws import Comparison
from tests.bench.made_up_results import settings_of


def holm_by_steps(p_values):
    """Holm (1979) as he tells it: test the smallest against a / T, the next against a / (T - 1), ..."""
    adjusted = {}
    for level in np.unique(np.concatenate([np.linspace(0, 1, 20001)])):
        remaining = dict(enumerate(p_values))
        while remaining:
            smallest = min(remaining, key=remaining.get)
            if remaining[smallest] * len(remaining) > level:
                break
            adjusted.setdefault(smallest, level)
            del remaining[smallest]
    return [adjusted.get(i, 1.0) for i in range(len(p_values))]


def test_holm_is_the_step_down_procedure():
    generator = np.random.default_rng(0)
    for size in (1, 2, 7):
        p_values = generator.random(size) ** 3
        np.testing.assert_allclose(holm(p_values), holm_by_steps(p_values), atol=1e-4)
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert np.isnan(holm([np.nan, np.nan])).all()


def table_of(make_column, generator, skills, seeds=3, places=4, spread=0.15):
    """Four columns of one data set each, from methods of given skills."""
    labels, columns = np.arange(60) % 2, []
    for number in range(places):
        skill = np.asarray(skills)[:, None] + spread * generator.normal(size=(len(skills), seeds))
        noise = 0.6 * generator.normal(size=60) + 0.5 * generator.normal(size=(len(skills), 1, 60))
        noise = noise + 0.2 * generator.normal(size=(len(skills), seeds, 60))
        place = Comparison(f"d{number}", "finetune", 0.1, None)
        columns.append(make_column(skill[:, :, None] * labels + noise, labels, np.arange(60), 100, place))
    return paired_differences(columns, [f"m{m}" for m in range(len(skills))], settings_of("m0"))


def test_family_wise_error_under_the_null(make_column):
    generator = np.random.default_rng(1)
    trials, corrected, uncorrected = 100, 0, 0
    for _ in range(trials):
        table = table_of(make_column, generator, [1, 1, 1, 1])
        corrected += table["distinguishable"].any()
        uncorrected += (table["p"] < 0.05).any()
    # 5%, and three standard errors of the trials.
    assert corrected / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    # Twelve tests without a correction: the simulation would see an error.
    assert uncorrected / trials > 0.2


def test_a_planted_difference_is_found_and_a_null_one_is_not(make_column):
    table = table_of(make_column, np.random.default_rng(2), [0.3, 0.3, 3, 0.3], seeds=5)
    found = table.groupby("method")["distinguishable"].mean()
    assert found.to_dict() == {"m1": 0, "m2": 1, "m3": 0}
    planted = table[table["method"] == "m2"]
    assert (planted["low"] > 0).all()
    assert (planted["p_holm"] >= planted["p"]).all()


def test_effects_pair_seeds_and_resamples(plain_column):
    generator = np.random.default_rng(3)
    values, draws = generator.random((2, 3)), generator.random((2, 3, 500))
    (row,) = paired_differences([plain_column(values, draws)], ["m0", "m1"], settings_of("m0", 0.9)).to_dict(
        "records"
    )
    differences = values[1] - values[0]
    assert row["effect"] == pytest.approx(differences.mean())
    patient = np.std((draws[1] - draws[0]).mean(axis=0), ddof=1)
    rows = values.var(axis=1, ddof=1) / 3
    seed = np.sqrt(rows.sum())
    assert (row["patient_error"], row["seed_error"]) == (pytest.approx(patient), pytest.approx(seed))
    error = np.hypot(patient, seed)
    freedom = error**4 / (patient**4 / 49 + (rows**2 / 2).sum())
    half = stats.t.ppf(0.95, freedom) * error
    assert (row["low"], row["high"]) == (
        pytest.approx(row["effect"] - half),
        pytest.approx(row["effect"] + half),
    )
    assert list(row) == DifferenceRow.columns()


def test_an_identical_method_is_no_different(plain_column):
    values, draws = np.full((2, 3), 0.7), np.tile(np.random.default_rng(4).random((1, 3, 50)), (2, 1, 1))
    (row,) = paired_differences([plain_column(values, draws)], ["m0", "m1"], settings_of("m0")).to_dict(
        "records"
    )
    assert (row["effect"], row["p"], row["distinguishable"]) == (0, 1, False)


def test_undefined_resamples_are_left_out_and_counted(plain_column):
    generator = np.random.default_rng(5)
    values, draws = generator.random((2, 2)), generator.random((2, 2, 40))
    draws[1, 0, :4] = np.nan
    (row,) = paired_differences([plain_column(values, draws)], ["m1"], settings_of("m0")).to_dict("records")
    expected = np.std((draws[1] - draws[0]).mean(axis=0)[4:], ddof=1)
    assert (row["undefined"], row["patient_error"]) == (4, pytest.approx(expected))


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_have_an_interval_and_no_p(plain_column, seeds):
    generator = np.random.default_rng(7)
    values, draws = generator.random((2, seeds)), 1e-6 * generator.random((2, seeds, 40))
    (row,) = paired_differences([plain_column(values, draws)], ["m1"], settings_of()).to_dict("records")
    assert row["low"] < row["effect"] < row["high"]
    assert np.isnan([row["p"], row["p_holm"]]).all()
    assert not row["distinguishable"]
    assert np.isnan(row["seed_error"]) == (seeds == 1)


def test_references_are_shown_and_not_tested(plain_column):
    generator = np.random.default_rng(8)
    values = np.array([[0.5], [0.6], [0.7]]) + 0.01 * generator.random((3, 3))
    draws = values[:, :, None] + 0.001 * generator.random((3, 1, 40))
    methods = ["m0", "m1", "m2"]
    table = paired_differences([plain_column(values, draws)], methods, settings_of(), ["m1"])
    table = table.set_index("method")
    assert table["low"].notna().all()
    assert np.isnan(table.loc["m1", "p_holm"])
    assert not table.loc["m1", "distinguishable"]
    # One test is left, and so nothing to correct.
    assert table.loc["m2", "p_holm"] == table.loc["m2", "p"]


@pytest.mark.parametrize("lacking", ["m0", "m9"])
def test_a_missing_result_is_a_row_with_its_reason(plain_column, lacking):
    values, draws = np.random.default_rng(6).random((2, 3)), np.random.default_rng(7).random((2, 3, 30))
    column = plain_column(values, draws, excluded={"m9": "seed 1 failed"})
    if lacking == "m0":
        table = paired_differences([column], ["m0", "m1", "m9"], settings_of("m9"))
        assert np.isnan(table[["effect", "p", "p_holm"]].to_numpy(dtype=float)).all()
        assert set(table["reason"]) == {"m9: seed 1 failed"}
    else:
        table = paired_differences([column], ["m0", "m1", "m9"], settings_of("m0")).set_index("method")
        assert table.loc["m9", "reason"] == "m9: seed 1 failed"
        # The hole does not count among the tests.
        assert table.loc["m1", "p_holm"] == table.loc["m1", "p"]
    assert not table["distinguishable"][table["reason"] != ""].any()
