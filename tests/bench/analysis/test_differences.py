"""Paired differences: the correction, its error under the null, planted differences, holes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.analysis.differences import DifferenceRow, paired_differences
from bench.summary.draws import Comparison
from imssl.settings.labels import LabelSet
from tests.bench.made_up_results import settings_of
from tests.simulations.table_of_differences import told_apart


def table_of_seeds(plain_column, places=4, seeds=100, methods=4, quiet_baseline=False):
    """Columns in which patients do not vary, with so many seeds that variances are as good as known."""
    generator = np.random.default_rng(9)
    values = 0.7 + 0.02 * generator.normal(size=(places, methods, seeds))
    values[:, 1] += 0.008
    if quiet_baseline:
        values[:, 0] = 0.7
    columns = [
        plain_column(own, np.empty((methods, seeds, 0)), Comparison(f"d{d}", "finetune", LabelSet(0.1), None))
        for d, own in enumerate(values)
    ]
    return columns, [f"m{m}" for m in range(methods)]


def test_one_column_is_corrected_as_dunnett_does(plain_column):
    """Dunnett (1955) takes the variances for equal, which they are here."""
    (column,), methods = table_of_seeds(plain_column, places=1)
    table = paired_differences([column], methods, settings_of("m0"))
    expected = stats.dunnett(*column.values[1:], control=column.values[0], rng=0).pvalue
    np.testing.assert_allclose(table["p_corrected"], expected, atol=0.04)
    assert (table["p_corrected"] >= table["p"]).all()


def test_columns_are_corrected_as_independent_tests(plain_column):
    """Against a baseline that does not vary all tests are independent: Sidak (1967)."""
    columns, methods = table_of_seeds(plain_column, quiet_baseline=True)
    table = paired_differences(columns, methods, settings_of("m0"))
    np.testing.assert_allclose(table["p_corrected"], 1 - (1 - table["p"]) ** len(table), atol=0.04)
    # Evaluations are tables of their own.
    other = [replace(column, place=column.place._replace(evaluation="frozen")) for column in columns[:1]]
    both = paired_differences([*columns, *other], methods, settings_of("m0"))
    assert both[both["evaluation"] == "finetune"]["p_corrected"].tolist() == table["p_corrected"].tolist()


@pytest.mark.parametrize("deviations", [(0.02,) * 4, (0.08, 0.02, 0.02, 0.02)], ids=str)
def test_a_table_errs_as_rarely_as_promised(deviations):
    """27 tests at three seeds: with Holm's correction of Welch's tests it was .09 to .17."""
    trials = 80
    _, now = told_apart(deviations, patient_error=0.02, seeds=3, trials=trials)
    assert now <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("patient_error", [0.006, 0.02])
@pytest.mark.parametrize("noisy", [None, 0, 1])
def test_tables_err_as_rarely_as_promised(noisy, patient_error, seeds):
    deviations, trials = [0.02] * 4, 400
    if noisy is not None:
        deviations[noisy] = 0.08
    _, now = told_apart(tuple(deviations), patient_error, seeds, trials)
    assert now <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


def table_of(make_column, generator, skills, seeds=3, places=4, spread=0.15):
    """Four columns of one data set each, from methods of given skills."""
    labels, columns = np.arange(60) % 2, []
    for number in range(places):
        skill = np.asarray(skills)[:, None] + spread * generator.normal(size=(len(skills), seeds))
        noise = 0.6 * generator.normal(size=60) + 0.5 * generator.normal(size=(len(skills), 1, 60))
        noise = noise + 0.2 * generator.normal(size=(len(skills), seeds, 60))
        place = Comparison(f"d{number}", "finetune", LabelSet(0.1), None)
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
    assert (planted["p_corrected"] >= planted["p"]).all()


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
    assert np.isnan([row["p"], row["p_corrected"]]).all()
    assert not row["distinguishable"]
    assert np.isnan(row["seed_error"]) == (seeds == 1)


@pytest.mark.parametrize(("metric", "reach"), [("auroc", 1), ("qwk", 2)])
def test_an_interval_ends_where_differences_of_the_metric_end(plain_column, metric, reach):
    values, draws = [[0.0, 0.9], [1.0, 0.0]], np.empty((2, 2, 0))
    column = plain_column(values, draws, metric=metric)
    (row,) = paired_differences([column], ["m1"], settings_of()).to_dict("records")
    assert (row["effect"], row["low"], row["high"]) == (pytest.approx(0.05), -reach, reach)


def test_references_are_shown_and_not_tested(plain_column):
    generator = np.random.default_rng(8)
    values = np.array([[0.5], [0.6], [0.7]]) + 0.01 * generator.random((3, 3))
    draws = values[:, :, None] + 0.001 * generator.random((3, 1, 40))
    methods = ["m0", "m1", "m2"]
    table = paired_differences([plain_column(values, draws)], methods, settings_of(), ["m1"])
    table = table.set_index("method")
    assert table["low"].notna().all()
    assert np.isnan(table.loc["m1", "p_corrected"])
    assert not table.loc["m1", "distinguishable"]
    # The others are corrected as if it were not there.
    alone = paired_differences([plain_column(values, draws)], ["m0", "m2"], settings_of())
    assert table.loc["m2", "p_corrected"] == alone.loc[0, "p_corrected"]


@pytest.mark.parametrize("lacking", ["m0", "m9"])
def test_a_missing_result_is_a_row_with_its_reason(plain_column, lacking):
    values, draws = np.random.default_rng(6).random((2, 3)), np.random.default_rng(7).random((2, 3, 30))
    column = plain_column(values, draws, excluded={"m9": "seed 1 failed"})
    if lacking == "m0":
        table = paired_differences([column], ["m0", "m1", "m9"], settings_of("m9"))
        assert np.isnan(table[["effect", "p", "p_corrected"]].to_numpy(dtype=float)).all()
        assert set(table["reason"]) == {"m9: seed 1 failed"}
    else:
        table = paired_differences([column], ["m0", "m1", "m9"], settings_of("m0")).set_index("method")
        assert table.loc["m9", "reason"] == "m9: seed 1 failed"
        # The hole does not count among the tests.
        alone = paired_differences([column], ["m0", "m1"], settings_of("m0"))
        assert table.loc["m1", "p_corrected"] == alone.loc[0, "p_corrected"]
    assert not table["distinguishable"][table["reason"] != ""].any()
