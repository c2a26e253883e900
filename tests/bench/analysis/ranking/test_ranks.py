"""Ranks, their intervals, and who cannot be told from the best."""

import numpy as np
import pytest

from bench.analysis.ranking.ranks import RankRow, rank_draws, rank_table
from tests.bench.made_up_results import settings_of
from tests.simulations.best_of_many import false_marks


def column_of(plain_column, means, seed_spread=0.0, patient_spread=0.01, seeds=3, **changes):
    generator = np.random.default_rng(0)
    values = np.asarray(means)[:, None] + seed_spread * generator.normal(size=(len(means), seeds))
    draws = values[:, :, None] + patient_spread * generator.normal(size=(len(means), 1, 400))
    return plain_column(values, draws, **changes)


def test_ranks_and_ties_in_the_plain_case(plain_column):
    column = column_of(plain_column, [0.5, 0.9, 0.895, 0.7])
    table = rank_table([column], ["m0", "m1", "m2", "m3"], settings_of()).set_index("method")
    assert table["rank"].to_dict() == {"m0": 4, "m1": 1, "m2": 2, "m3": 3}
    assert table["best"].to_dict() == {"m0": False, "m1": True, "m2": False, "m3": False}
    assert table["tied"].to_dict() == {"m0": False, "m1": True, "m2": True, "m3": False}
    assert (table.loc["m0", "rank_low"], table.loc["m0", "rank_high"]) == (4, 4)
    assert (table.loc["m2", "rank_low"], table.loc["m2", "rank_high"]) == (1, 2)
    assert table.loc["m1", "mean"] == pytest.approx(0.9)
    assert list(table.reset_index().columns) != []
    assert set(table.columns) | {"method"} == set(RankRow.columns())


def test_rank_draws_are_the_ranks_of_the_resampled_means(plain_column):
    column = column_of(plain_column, [0.5, 0.51, 0.52], seeds=1)
    means = column.draws.mean(axis=1)
    expected = (means[None] > means[:, None]).sum(axis=1) + 1
    np.testing.assert_array_equal(rank_draws(column, column.methods), expected)
    pair = rank_draws(column, ["m0", "m2"])
    np.testing.assert_array_equal(pair[0], np.where(means[0] > means[2], 1, 2))


def test_a_spread_between_seeds_widens_the_ranks(plain_column):
    column = column_of(plain_column, [0.5, 0.6], seed_spread=0.2, patient_spread=1e-6)
    quiet = column_of(plain_column, [0.5, 0.6], patient_spread=1e-6)
    assert (rank_draws(quiet, ["m0", "m1"])[0] == 2).all()
    share = (rank_draws(column, ["m0", "m1"])[0] == 1).mean()
    assert 0.05 < share < 0.95


def test_equal_means_share_a_rank_and_the_mark(plain_column):
    column = plain_column(np.full((2, 3), 0.5), np.full((2, 3, 10), 0.5))
    table = rank_table([column], ["m0", "m1"], settings_of())
    assert table["rank"].tolist() == [1.5, 1.5]
    assert table["best"].all()
    assert table["tied"].all()


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_rank_and_mark_nothing_beyond_doubt(plain_column, seeds):
    table = rank_table([column_of(plain_column, [0.5, 0.9], seeds=seeds)], ["m0", "m1"], settings_of())
    assert table["rank"].tolist() == [2, 1]
    assert not table[["best", "tied"]].any(axis=None)
    assert table[["rank_low", "rank_high", "p_best"]].isna().all(axis=None)
    # The interval of the mean is still shown.
    assert table["low"].notna().all()


def test_a_protocol_may_ask_for_more_seeds(plain_column):
    column = column_of(plain_column, [0.5, 0.9])
    assert rank_table([column], ["m0", "m1"], settings_of())["best"].any()
    assert not rank_table([column], ["m0", "m1"], settings_of(least_seeds=5))["best"].any()


def test_references_are_shown_and_not_ranked(plain_column):
    column = column_of(plain_column, [0.95, 0.9, 0.7])
    table = rank_table([column], ["m0", "m1", "m2"], settings_of(), ["m0"]).set_index("method")
    assert table["reference"].to_dict() == {"m0": True, "m1": False, "m2": False}
    assert np.isnan(table.loc["m0", "rank"])
    assert table.loc["m0", "mean"] == pytest.approx(0.95)
    assert table["rank"].to_dict() | {"m0": 0} == {"m0": 0, "m1": 1, "m2": 2}
    assert table["best"].to_dict() == {"m0": False, "m1": True, "m2": False}
    assert (table["ranked"] == 2).all()
    # Without the reference in the table, the others stand as before.
    alone = rank_table([column], ["m1", "m2"], settings_of(), ["m0"]).set_index("method")
    assert (alone["p_best"] == table.loc[["m1", "m2"], "p_best"]).all()


@pytest.mark.parametrize("methods", [4, 10])
@pytest.mark.parametrize("deviations", [(0.02,), (0.04, 0.005, 0.005, 0.005)])
def test_marks_err_family_wise_as_promised(methods, deviations):
    """All methods are equal; docs/statistics.md has 25 and 50 methods."""
    trials = 200
    rate = false_marks(methods, deviations, patient_error=0.006, seeds=3, trials=trials)
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


@pytest.mark.slow
@pytest.mark.parametrize("methods", [25, 50])
@pytest.mark.parametrize("deviations", [(0.02,), (0.04, 0.005, 0.005, 0.005)])
@pytest.mark.parametrize("seeds", [3, 5])
def test_marks_of_many_methods_err_family_wise_as_promised(methods, deviations, seeds):
    trials = 150
    rate = false_marks(methods, deviations, patient_error=0.006, seeds=seeds, trials=trials)
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


def test_a_method_that_is_clearly_worse_is_told_apart_from_the_best():
    missed = false_marks(10, (0.01,), patient_error=0.006, seeds=5, trials=40, lead=0.1)
    assert missed >= 0.9


def test_one_method_and_no_method(plain_column):
    (row,) = rank_table([column_of(plain_column, [0.5])], ["m0"], settings_of()).to_dict("records")
    assert (row["rank"], row["tied"], row["ranked"]) == (1, True, 1)
    empty = plain_column(np.empty((0, 2)), np.empty((0, 2, 10)), excluded={"m0": "seed 0 missing"})
    (row,) = rank_table([empty], ["m0"], settings_of()).to_dict("records")
    assert np.isnan(row["rank"])
    assert (row["reason"], row["ranked"], row["tied"]) == ("seed 0 missing", 0, False)


def test_undefined_resamples_do_not_spoil_the_ranks(plain_column):
    column = column_of(plain_column, [0.5, 0.9])
    column.draws[0, 0, :5] = np.nan
    ranks = rank_draws(column, ["m0", "m1"])
    assert np.isnan(ranks[:, :5]).all()
    assert (ranks[1, 5:] == 1).all()
    table = rank_table([column], ["m0", "m1"], settings_of())
    assert table["rank_high"].tolist() == [2, 1]
