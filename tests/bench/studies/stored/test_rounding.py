import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from bench.studies.stored.rounding import (
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


BINARY = card(FUNDUS).model_copy(update={"task": "binary", "classes": ["no", "yes"]})


def of_positive(positive):
    return np.column_stack([1 - positive, positive])


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_probability_moves_by_an_eighth_of_a_step_at_most(step):
    """The slope of the logistic function is a quarter at most, and rounding moves by half a step at most."""
    exact = np.linspace(0, 1, 2001)
    coarse = rounded(BINARY, of_positive(exact), step)[:, 1]
    moved = np.abs(coarse - exact)
    is_even = np.abs(logit(exact)) <= step / 2  # raised by a whole step where it would no longer be the class
    assert moved[~is_even].max() <= step / 8 + 1e-12
    assert moved[is_even].max() <= step / 4 + 1e-12
    assert ((coarse > 0.5) == (exact > 0.5)).all()
    assert (np.diff(coarse) >= 0).all()
    assert coarse[0] < 1e-17
    assert coarse[-1] == 1
    ends = to_integers(BINARY, of_positive(np.array([0.0, 1.0])), step)
    assert ends.tolist() == [[-FARTHEST / step], [FARTHEST / step]]


def test_what_differs_in_its_last_bits_stays_apart():
    """Neighbours that are all of one class give 1 but for the last bits, whose order decides a ranking."""
    next_to_one = 1 - np.arange(50) * 2.0**-53
    kept = rounded(BINARY, of_positive(next_to_one), STEPS[-2])[:, 1]
    assert kept.tolist() == next_to_one.tolist()


@pytest.mark.parametrize("step", STEPS[:-1])
def test_no_image_changes_its_class(step):
    """Votes of neighbours that differ in their last bits only: half of a class, or a third."""
    half = 0.5 + np.arange(-20, 21) * 2.0**-53
    assert np.array_equal(
        rounded(BINARY, of_positive(half), step).argmax(axis=1), of_positive(half).argmax(axis=1)
    )
    thirds = np.full((300, 3), 1 / 3) + np.random.default_rng(0).integers(-4, 5, size=(300, 3)) * 2.0**-54
    kept = rounded(card(FUNDUS), thirds, step)
    np.testing.assert_array_equal(kept.argmax(axis=1), thirds.argmax(axis=1))


def test_the_smallest_probabilities_keep_their_order():
    """A linear classifier with a weak penalty gives 1e-30, and a ranking asks which is smaller."""
    tiny = 10.0 ** -np.arange(1, 300)
    kept = rounded(BINARY, of_positive(tiny), STEPS[0])[:, 1]
    assert (np.diff(kept) < 0).all()


@pytest.mark.parametrize("step", STEPS[:-1])
def test_every_class_is_kept_to_half_a_step_though_the_last_is_stored_by_what_the_others_leave(step):
    _, exact = predictions()
    exact[:3] = [[1, 0, 0], [0, 0, 1], [0.5, 0.5, 0]]
    integers = to_integers(card(FUNDUS), exact, step)
    assert (np.abs(integers[:, -1]) < 4).mean() > 0.8  # which takes next to no space
    coarse = to_probabilities(card(FUNDUS), integers, step)
    odds = (np.clip(logit(p), -FARTHEST, FARTHEST) for p in (exact, coarse))
    assert np.abs(np.subtract(*odds)).max() < step / 2 + 1e-6


def test_the_effect_is_the_largest_change_of_a_metric():
    labels, exact = predictions(binary=True)
    coarse = rounded(BINARY, exact, 2.0)
    np.testing.assert_allclose(coarse.sum(axis=1), 1)
    change = abs(roc_auc_score(labels, exact[:, 1]) - roc_auc_score(labels, coarse[:, 1]))
    assert 0 < change <= effect_on_scores(BINARY, labels, exact, coarse)
    assert effect_on_scores(BINARY, labels, exact, exact) == 0


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


def test_where_no_step_will_do_predictions_are_kept_as_they_are():
    """Two images whose scores differ in the last bits only: every step makes them a tie."""
    three = card(FUNDUS)
    exact = np.array([[0.2, 0.3, 0.5], [0.2 + 1e-15, 0.3, 0.5 - 1e-15], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])
    labels = np.array([1, 0, 0, 2])
    step, effect = coarsest_step(
        lambda step: effect_on_scores(three, labels, exact, rounded(three, exact, step))
    )
    assert (step, effect) == (0.0, 0.0)
    np.testing.assert_array_equal(rounded(three, exact, step), exact)
    positive = of_positive(np.array([0.0, 1 / 3, 1.0]))
    np.testing.assert_array_equal(rounded(BINARY, positive, step), positive)
