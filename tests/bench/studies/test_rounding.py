import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.studies.rounding import (
    FARTHEST,
    LARGEST_EFFECT,
    STEPS,
    coarsest_step,
    effect_on_scores,
    rounded,
    to_integers,
    to_probabilities,
)
from tests.bench.small_run import FUNDUS, card


def predictions(binary=False, images=400):
    generator = np.random.default_rng(0)
    labels = generator.integers(2 if binary else 3, size=images)
    odds = generator.normal(size=(images, 2 if binary else 3)) * 3 + 3 * np.eye(2 if binary else 3)[labels]
    probabilities = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    return labels, probabilities


@pytest.mark.parametrize("step", STEPS)
def test_a_probability_moves_by_an_eighth_of_a_step_at_most(step):
    """The slope of the logistic function is a quarter at most, and rounding moves by half a step at most."""
    exact = np.linspace(0, 1, 2001)
    coarse = to_probabilities(to_integers(exact, step), step)
    assert np.abs(coarse - exact).max() <= step / 8 + 1e-12
    assert (np.diff(coarse) >= 0).all()
    assert coarse[0] < 1e-17
    assert coarse[-1] == 1
    assert to_integers(np.array([0.0, 1.0]), step).tolist() == [-FARTHEST / step, FARTHEST / step]


def test_the_effect_is_the_largest_change_of_a_metric():
    labels, exact = predictions(binary=True)
    of_two = card(FUNDUS).model_copy(update={"task": "binary", "classes": ["no", "yes"]})
    coarse = rounded(of_two, exact, 2.0)
    np.testing.assert_allclose(coarse.sum(axis=1), 1)
    change = abs(roc_auc_score(labels, exact[:, 1]) - roc_auc_score(labels, coarse[:, 1]))
    assert 0 < change <= effect_on_scores(of_two, labels, exact, coarse)
    assert effect_on_scores(of_two, labels, exact, exact) == 0


def test_the_step_that_is_chosen_keeps_every_metric_within_the_bound():
    labels, exact = predictions()
    three = card(FUNDUS)
    step, effect = coarsest_step(
        lambda step: effect_on_scores(three, labels, exact, rounded(three, exact, step)), (4.0, *STEPS)
    )
    assert step in STEPS
    assert effect < LARGEST_EFFECT
    for c in range(3):
        before, after = (roc_auc_score(labels == c, p[:, c]) for p in (exact, rounded(three, exact, step)))
        assert after == pytest.approx(before, abs=LARGEST_EFFECT)
    assert coarsest_step(lambda step: 1.0) == (STEPS[-1], 1.0)
