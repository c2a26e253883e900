"""Metrics of any labels and probabilities: scikit-learn's where it has them, None where undefined."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score

from imssl.ks import ks_distance
from imssl.metrics import metric_value, scores

CLASSES = ("a", "b", "c", "d")


@st.composite
def predictions(draw, classes=4):
    """Class indices (N,) and probabilities (N, C); ties are common."""
    n = draw(st.integers(2, 30))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    raw = draw(st.lists(st.integers(1, 6), min_size=n * classes, max_size=n * classes))
    weights = np.array(raw, dtype=float).reshape(n, classes)
    return np.array(labels), weights / weights.sum(axis=1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_multiclass(drawn):
    labels, probabilities = drawn
    found = scores("multiclass", labels, probabilities, CLASSES)
    defined = []
    for i, name in enumerate(CLASSES):
        positive = labels == i
        if positive.any() and not positive.all():
            expected = roc_auc_score(positive, probabilities[:, i])
            assert abs(found.auroc_per_class[name] - expected) < 1e-12
            defined.append(expected)
        else:
            assert found.auroc_per_class[name] is None
            assert name in found.undefined_classes
    assert (found.macro_auroc is None) == (not defined)
    if defined:
        assert abs(found.macro_auroc - np.mean(defined)) < 1e-12
    assert abs(found.accuracy - accuracy_score(labels, probabilities.argmax(axis=1))) < 1e-12


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_quadratic_kappa(drawn):
    labels, probabilities = drawn
    found = metric_value("qwk", "ordinal", labels, probabilities)
    guess = probabilities.argmax(axis=1)
    if len(set(labels) | set(guess)) == 1:
        assert found is None
    else:
        expected = cohen_kappa_score(labels, guess, weights="quadratic", labels=range(4))
        assert abs(found - expected) < 1e-9
        assert -1 - 1e-12 <= found <= 1 + 1e-12


@settings(max_examples=60, deadline=None)
@given(predictions(classes=2), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter_and_swapped_scores_mirror(drawn, random):
    labels, probabilities = drawn
    order = list(range(len(labels)))
    random.shuffle(order)
    found = metric_value("auroc", "binary", labels, probabilities)
    again = metric_value("auroc", "binary", labels[order], probabilities[order])
    mirrored = metric_value("auroc", "binary", labels, probabilities[:, ::-1])
    if found is None:
        assert again is None
        assert mirrored is None
    else:
        assert abs(found - again) < 1e-12
        assert abs(found + mirrored - 1) < 1e-12


@settings(max_examples=25, deadline=None)
@given(predictions(), predictions())
def test_the_ks_distance_is_scipys_and_symmetric(one, other):
    n = min(len(one[1]), len(other[1]))
    here, there = one[1][:n], other[1][:n]
    expected = [ks_2samp(here[:, i], there[:, i]).statistic for i in range(4)]
    np.testing.assert_allclose(ks_distance(here, there, "multiclass").per_class, expected, atol=1e-12)
    np.testing.assert_allclose(ks_distance(there, here, "multiclass").per_class, expected, atol=1e-12)
    assert np.all(ks_distance(here, here, "multiclass").per_class == 0)
