"""Aggregates over data sets: formulas by hand and by scipy, coverage, and no number over a hole."""

import numpy as np
import pytest
from scipy import stats

from bench.analysis.aggregates import (
    AggregateRow,
    aggregate_table,
    estimated_iqm,
    improvement,
    interquartile_mean,
    score,
)
from bench.summary.draws import Comparison
from imssl.settings.labels import LabelSet
from tests.bench.made_up_results import settings_of
from tests.simulations.interquartile_mean import coverage


def columns_of(plain_column, values, metric="qwk", **changes):
    """One column per data set from (D, M, S) values; patients hardly vary."""
    noise = 1e-9 * np.random.default_rng(0).normal(size=(*np.shape(values), 300))
    return [
        plain_column(
            own,
            own[:, :, None] + noise[d],
            Comparison(f"d{d}", "finetune", LabelSet(0.1), None),
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
    scores, baseline = generator.integers(5, size=(2, 6)).astype(float)
    expected = stats.mannwhitneyu(scores, baseline).statistic / 36
    assert improvement(scores, baseline) == pytest.approx(expected)


def test_table_by_hand(plain_column):
    values = [[[0.1, 0.2], [0.6, 0.9]], [[0.3, 0.5], [0.4, 0.8]], [[0.9, 0.9], [0.1, 0.3]]]
    table = aggregate_table(columns_of(plain_column, values), ["m0", "m1"], settings_of("m0"))
    table = table[~table["overall"]].set_index("method")
    assert table["mean_rank"].to_dict() == {"m0": pytest.approx(5 / 3), "m1": pytest.approx(4 / 3)}
    assert table.loc["m1", "iqm"] == pytest.approx(stats.trim_mean([0.6, 0.9, 0.4, 0.8, 0.1, 0.3], 0.25))
    # Wins of m1 over m0: all; 3 of 4 pairs; none.
    assert table.loc["m1", "improvement"] == pytest.approx((1 + 0.75 + 0) / 3)
    assert np.isnan(table.loc["m0", "improvement"])
    assert (table["datasets"] == 3).all()
    assert set(table.columns) | {"method"} == set(AggregateRow.columns())


def test_the_error_of_a_plain_mean_is_that_of_its_seeds(plain_column):
    """Three runs are too few to cut any, so the interquartile mean is their mean."""
    values = np.random.default_rng(3).random((1, 1, 3))
    estimate = estimated_iqm(columns_of(plain_column, values), "m0")
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.seed_variance == pytest.approx(values.var(ddof=1) / 3)
    assert estimate.seed_freedom == pytest.approx(2)


def test_the_error_of_a_trimmed_mean_is_yuen_s(plain_column):
    """On one column, where nothing is stratified: against the trimmed t-test of scipy."""
    values = np.random.default_rng(4).random((1, 1, 9))
    estimate = estimated_iqm(columns_of(plain_column, values), "m0")
    # Two samples of the same values: the variance of the difference is twice that of one.
    yuen = stats.ttest_ind(values.ravel(), values.ravel() + 1, trim=0.25, equal_var=False)
    error = 1 / abs(yuen.statistic) / np.sqrt(2)
    assert np.sqrt(estimate.seed_variance) == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("across", [0.0, 0.9])
@pytest.mark.parametrize("seeds", [3, 5])
def test_coverage_of_the_interquartile_mean(seeds, across):
    """Also where seeds are high together on all data sets: taken as independent it was .77 to .90."""
    assert 0.93 - 0.02 <= coverage(4, 1, 0.02, 0.006, seeds, trials=500, across=across) <= 0.98 + 0.02


@pytest.mark.parametrize(
    ("seeds", "datasets", "label_sets", "shown"),
    [
        (1, 4, 1, False),
        (2, 4, 1, False),
        (3, 3, 1, False),
        (3, 1, 4, False),
        (3, 4, 1, True),
        (3, 2, 2, True),
    ],
)
def test_what_no_interval_covers_has_none(plain_column, seeds, datasets, label_sets, shown):
    generator = np.random.default_rng(5)
    columns = [
        plain_column(
            own := generator.random((2, seeds)),
            own[:, :, None] + 1e-9 * generator.random(50),
            Comparison(f"d{d}", "finetune", LabelSet((f + 1) / 10), None),
        )
        for d in range(datasets)
        for f in range(label_sets)
    ]
    table = aggregate_table(columns, ["m0", "m1"], settings_of("m0"))
    assert table["iqm"].notna().all()
    assert table[table["overall"]]["iqm_low"].notna().all() == shown
    assert table["mean_rank_low"].notna().all() == (seeds >= 3)


def test_references_have_no_rank(plain_column):
    values = np.random.default_rng(6).random((2, 3, 3))
    columns = columns_of(plain_column, values)
    table = aggregate_table(columns, ["m0", "m1", "m2"], settings_of("m1"), ["m0"]).set_index("method")
    assert table.loc["m0", "mean_rank"].isna().all()
    assert table.loc["m0", ["iqm", "improvement"]].notna().all(axis=None)
    ranks = table.loc["m1", "mean_rank"].to_numpy() + table.loc["m2", "mean_rank"].to_numpy()
    np.testing.assert_allclose(ranks, 3)


def test_a_hole_has_no_aggregate_and_says_what_lacks(plain_column):
    values = np.random.default_rng(5).random((2, 2, 3))
    whole, holed = columns_of(plain_column, values)
    columns = [
        plain_column(whole.values, whole.draws, whole.place),
        plain_column(holed.values[:1], holed.draws[:1], holed.place, {"m1": "seed 2 failed"}),
    ]
    for _, table in aggregate_table(columns, ["m0", "m1"], settings_of("m0")).groupby("overall"):
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
            ("finetune", LabelSet(0.1), None),
            ("finetune", LabelSet(1.0), None),
            ("probe", None, 1),
            ("probe", None, 2),
        )
    ]
    table = aggregate_table(columns, ["m0", "m1"], settings_of("m0"))
    assert len(table) == 2 * (4 + 2)
    overall = table[table["overall"]].set_index(["evaluation", "method"])
    assert (overall["columns"] == 4).all()
    apart = table[~table["overall"]].groupby(["evaluation", "method"])["mean_rank"].mean()
    for key, mean in apart.items():
        assert overall.loc[key, "mean_rank"] == pytest.approx(mean)
