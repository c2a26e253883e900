"""The search on functions whose maximum is known: budget, seed, order, failures."""

import math

import pytest

from bench.tuning.ranges import Range
from bench.tuning.search import Judged, best_of, search
from imssl.settings.base import Tuned

RATE = Range("rate", "", Tuned(1e-4, 1.0, log=True), 0.9, 0, False)
WIDTH = Range("width", "", Tuned(1, 9), 2, 0, True)


def bump(values):
    """Highest at rate = 0.01 and width = 5; in [0, 1]."""
    return math.exp(-((math.log10(values["rate"]) + 2) ** 2) - ((values["width"] - 5) / 4) ** 2)


def judge(number, values):
    return Judged({"chest": bump(values), "fundus": bump(values)})


def test_it_comes_near_the_maximum_and_the_first_trial_is_what_there_was():
    trials = search([RATE, WIDTH], 40, 0, judge)
    assert [trial.number for trial in trials] == list(range(40))
    assert trials[0].values == {"rate": 0.9, "width": 2}
    best = best_of(trials)
    assert best.judged.score == max(trial.judged.score for trial in trials)
    assert best.judged.score > 0.85 > 0.1 > trials[0].judged.score
    assert all(1e-4 <= trial.values["rate"] <= 1 for trial in trials)
    assert all(trial.values["width"] in range(1, 10) for trial in trials)
    # Three digits, so that params.yaml holds what was tried.
    assert all(float(f"{trial.values['rate']:.3g}") == trial.values["rate"] for trial in trials)


def test_the_same_seed_tries_the_same_and_a_larger_budget_goes_on():
    few, many, other = (search([RATE, WIDTH], *of, judge) for of in ((8, 3), (12, 3), (8, 4)))
    assert few == many[:8]
    assert [trial.values for trial in few[1:]] != [trial.values for trial in other[1:]]


def test_a_failure_is_a_trial_and_is_not_chosen():
    def fails_above(number, values):
        return Judged({"chest": None}, "diverged") if values["rate"] > 0.01 else judge(number, values)

    trials = search([RATE, WIDTH], 15, 1, fails_above)
    assert len(trials) == 15
    assert trials[0].judged == Judged({"chest": None}, "diverged")
    assert best_of(trials).values["rate"] <= 0.01
    assert best_of(trials[:1]) is None


def test_a_data_set_without_a_score_leaves_the_trial_without_one():
    assert Judged({"chest": 0.7, "fundus": None}).score is None
    assert Judged({"chest": 0.7, "fundus": 0.9}).score == pytest.approx(0.8)


def test_a_present_value_outside_the_range_is_tried_all_the_same():
    outside = Range("rate", "", Tuned(1e-4, 1e-2, log=True), 0.5, 0, False)
    trials = search([outside, WIDTH], 6, 0, judge)
    assert trials[0].values["rate"] == 0.5
    assert all(trial.values["rate"] <= 1e-2 for trial in trials[1:])


def test_of_equal_trials_the_earliest_is_chosen():
    trials = search([RATE, WIDTH], 5, 0, lambda number, values: Judged({"chest": 0.5}))
    assert best_of(trials).number == 0
