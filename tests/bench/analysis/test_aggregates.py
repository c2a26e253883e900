"""Aggregates over data sets: formulas by hand and by scipy, coverage, and no number over a hole."""

import numpy as np
import pytest
from scipy import stats

from bench.analysis.aggregates import AGGREGATES, aggregate_table, improvement, interquartile_mean, score
from bench.summary.draws import Comparison


def columns_of(plain_column, values, metric="qwk", **changes):
    """One column per data set from (D, M, S) values; patients hardly vary."""
    noise = 1e-9 * np.random.default_rng(0).normal(size=(*np.shape(values), 300))
    return [
        plain_column(
            own,
            own[:, :, None] + noise[d],
            Comparison(f"d{d}", "finetune", 0.1, None),
            metric=metric,
            **changes,
        )
        for d, own in enumerate(np.asarray(values, dtype=float))
    ]


def test_interquartile_mean_by_hand_and_by_scipy():
    assert interquartile_mean(np.array([0, 1, 2, 3, 100, 5, 6, -50.0])) == pytest.approx((1 + 2 + 3 + 5) / 4)
    scores = np.random.default_rng(1).random((3, 17))
    np.testing.assert_allclose(interquartile_mean(scores), [stats.trim_mean(row, 0.25) for row in scores])


def test_scores_are_0_at_chance_and_1_at_best():
    np.testing.assert_allclose(score(np.array([0.5, 0.75, 1]), "macro_auroc"), [0, 0.5, 1])
    np.testing.assert_allclose(score(np.array([0, 0.4, 1]), "qwk"), [0, 0.4, 1])


def test_improvement_is_mann_whitney():
    generator = np.random.default_rng(2)
    one, other = generator.integers(5, size=(2, 6)).astype(float)
    expected = stats.mannwhitneyu(one, other).statistic / 36
    once = np.ones((1, 6), dtype=int)
    assert improvement(one, other, once, once)[0] == pytest.approx(expected)
    # A resample is the statistic of the repeated runs.
    counts = np.array([[2, 0, 1, 1, 0, 2]]), np.array([[0, 3, 1, 0, 1, 1]])
    repeated = np.repeat(one, counts[0][0]), np.repeat(other, counts[1][0])
    expected = stats.mannwhitneyu(*repeated).statistic / 36
    assert improvement(one, other, *counts)[0] == pytest.approx(expected)


def test_table_by_hand(plain_column):
    values = [[[0.1, 0.2], [0.6, 0.9]], [[0.3, 0.5], [0.4, 0.8]], [[0.9, 0.9], [0.1, 0.3]]]
    table = aggregate_table(columns_of(plain_column, values), ["m0", "m1"], "m0", 0.95)
    table = table[~table["overall"]].set_index("method")
    assert table["mean_rank"].to_dict() == {"m0": pytest.approx(5 / 3), "m1": pytest.approx(4 / 3)}
    assert table.loc["m1", "iqm"] == pytest.approx(stats.trim_mean([0.6, 0.9, 0.4, 0.8, 0.1, 0.3], 0.25))
    # Wins of m1 over m0: all; 3 of 4 pairs; none.
    assert table.loc["m1", "improvement"] == pytest.approx((1 + 0.75 + 0) / 3)
    assert np.isnan(table.loc["m0", "improvement"])
    assert table.loc["m1", "iqm_low"] <= table.loc["m1", "iqm"] <= table.loc["m1", "iqm_high"]
    assert (table["datasets"] == 3).all()
    assert set(table.columns) | {"method"} == set(AGGREGATES)


def test_interval_of_the_interquartile_mean_is_the_stratified_bootstrap(plain_column):
    """Every resample of two seeds per data set, enumerated."""
    values = np.random.default_rng(3).random((2, 1, 2))
    noisy = aggregate_table(columns_of(plain_column, values), ["m0"], "m0", 0.5).iloc[0]
    means = sorted(
        stats.trim_mean([values[0, 0, a], values[0, 0, b], values[1, 0, c], values[1, 0, d]], 0.25)
        for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)
    )  # fmt: skip
    # Quartiles of 16 equally likely values, drawn 300 times: within one step of the enumerated ones.
    assert means[2] <= noisy["iqm_low"] <= means[6]
    assert means[9] <= noisy["iqm_high"] <= means[13]


def test_one_seed_has_no_interval_over_seeds(plain_column):
    values = np.random.default_rng(4).random((2, 2, 1))
    table = aggregate_table(columns_of(plain_column, values), ["m0", "m1"], "m0", 0.95)
    assert table["iqm"].notna().all()
    assert table[["iqm_low", "iqm_high", "improvement_low"]].isna().all(axis=None)
    assert table["mean_rank_low"].notna().all()


def test_a_hole_has_no_aggregate_and_says_what_lacks(plain_column):
    values = np.random.default_rng(5).random((2, 2, 3))
    whole, holed = columns_of(plain_column, values)
    columns = [
        plain_column(whole.values, whole.draws, whole.place),
        plain_column(holed.values[:1], holed.draws[:1], holed.place, {"m1": "seed 2 failed"}),
    ]
    for _, table in aggregate_table(columns, ["m0", "m1"], "m0", 0.95).groupby("overall"):
        table = table.set_index("method")
        assert table.loc["m1", "reason"] == "d1: seed 2 failed"
        assert table.loc["m1", ["mean_rank", "iqm", "improvement"]].isna().all()
        # The other is ranked without it, in both data sets.
        assert (table.loc["m0", "mean_rank"], table.loc["m0", "ranked"]) == (1, 1)


def test_places_are_averaged_apart_and_together(plain_column):
    generator = np.random.default_rng(6)
    columns = [
        plain_column(own := generator.random((2, 2)), own[:, :, None] + np.zeros(50), Comparison(d, e, f, b))
        for d in ("d0", "d1")
        for e, f, b in (
            ("finetune", 0.1, None),
            ("finetune", 1.0, None),
            ("probe", None, 1),
            ("probe", None, 2),
        )
    ]
    table = aggregate_table(columns, ["m0", "m1"], "m0", 0.95)
    assert len(table) == 2 * (4 + 2)
    overall = table[table["overall"]].set_index(["evaluation", "method"])
    assert (overall["columns"] == 4).all()
    apart = table[~table["overall"]].groupby(["evaluation", "method"])["mean_rank"].mean()
    for key, mean in apart.items():
        assert overall.loc[key, "mean_rank"] == pytest.approx(mean)
