"""Who is ahead over all data sets: against plain formulas, and what another method may not change."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.ranking.standings import estimated_score, standing_table
from bench.summary.draws import Comparison
from imssl.settings.labels import LabelSet
from tests.bench.made_up_results import plain_column, settings_of

SEEDS, RESAMPLES = 3, 400


@pytest.fixture
def columns():
    """Two data sets with two label sets each; m2 is far behind."""

    def make(methods=3):
        made = []
        for dataset in ("one", "two"):
            for share in (0.1, 1.0):
                generator = np.random.default_rng([len(dataset) + ord(dataset[0]), int(10 * share)])
                values = (
                    0.8 - 0.15 * np.arange(methods)[:, None] + generator.normal(0, 0.01, (methods, SEEDS))
                )
                noise = generator.normal(0, 0.01, (methods, 1, RESAMPLES))
                place = Comparison(dataset, "finetune", LabelSet(share), None)
                made.append(plain_column(values, values[:, :, None] + noise, place))
        return made

    return make


def test_a_mean_score_and_its_interval_equal_the_formulas(columns):
    made = columns()
    row = standing_table(made, ["m0", "m1", "m2"], settings_of()).set_index("method").loc["m1"]
    scores = np.mean([2 * column.values[1] - 1 for column in made], axis=0)
    assert row["mean_score"] == pytest.approx(scores.mean())
    draws = [2 * column.draws[1].mean(axis=0) - 1 for column in made]
    patients = [np.var(draws[0] + draws[1], ddof=1) / 16, np.var(draws[2] + draws[3], ddof=1) / 16]
    parts = [*patients, scores.var(ddof=1) / SEEDS]
    freedom = sum(parts) ** 2 / sum(part**2 / df for part, df in zip(parts, [49, 49, SEEDS - 1], strict=True))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts))
    assert (row["low"], row["high"]) == pytest.approx((scores.mean() - half, scores.mean() + half))


def test_another_method_changes_no_mean_score_and_no_interval(columns):
    few = standing_table([_without_last(column) for column in columns()], ["m0", "m1"], settings_of())
    many = standing_table(columns(), ["m0", "m1", "m2"], settings_of())
    kept = ["method", "mean_score", "low", "high"]
    pd.testing.assert_frame_equal(few[kept], many[many["method"] != "m2"][kept].reset_index(drop=True))


def test_what_is_far_behind_is_worse_and_a_reference_is_not_ranked(columns):
    table = standing_table(columns(), ["m0", "m1", "m2"], settings_of(), ["m1"]).set_index("method")
    assert table["worse"].to_dict() == {"m0": False, "m1": False, "m2": True}
    assert np.isnan(table.loc["m1", "rank"])
    assert (table.loc["m0", "rank"], table.loc["m2", "rank"]) == (1, 2)
    few = standing_table(columns(), ["m0", "m1", "m2"], settings_of(least_seeds=4))
    assert not few["worse"].any()
    assert few["p_best"].isna().all()


def test_one_seed_has_an_interval_over_patients(columns):
    column = columns()[0]
    single = plain_column(column.values[:, :1], column.draws[:, :1])
    estimate = estimated_score([single], "m0")
    assert estimate.seed_variance == 0
    assert estimate.patient_variance == pytest.approx(np.var(2 * single.draws[0, 0], ddof=1))


def _without_last(column):
    return plain_column(column.values[:-1], column.draws[:-1], column.place)
