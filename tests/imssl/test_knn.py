"""Weighted nearest neighbours against a loop over samples."""

import numpy as np
import pytest

from imssl import knn
from imssl.knn import knn_probabilities


def naive(train, labels, features, classes, k, temperature):
    """Wu et al. (2018), section 3.4, one query at a time."""
    result = np.zeros((len(features), classes))
    for i, feature in enumerate(features):
        similarity = [feature @ row / (np.linalg.norm(feature) * np.linalg.norm(row)) for row in train]
        nearest = np.argsort(similarity)[::-1][:k]
        weights = [np.exp(similarity[j] / temperature) for j in nearest]
        for weight, j in zip(weights, nearest, strict=True):
            vote = labels[j] if labels.ndim == 2 else np.arange(classes) == labels[j]
            result[i] += weight * vote / sum(weights)
    return result


@pytest.mark.parametrize("task", ["multilabel", "binary", "multiclass", "ordinal"])
@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (7, 0.1), (20, 0.07), (500, 1.0)])
def test_probabilities_equal_a_loop(task, k, temperature, monkeypatch):
    generator = np.random.default_rng(0)
    classes = 2 if task == "binary" else 4
    train, features = generator.normal(size=(60, 8)), 100 * generator.normal(size=(25, 8))
    labels = generator.integers(classes, size=60)
    if task == "multilabel":
        labels = generator.integers(2, size=(60, classes))
    monkeypatch.setattr(knn, "CHUNK", 7 * 60)
    result = knn_probabilities(train, labels, features, task, classes, k, temperature)
    np.testing.assert_allclose(result, naive(train, labels, features, classes, k, temperature), atol=1e-5)
    if task != "multilabel":
        np.testing.assert_allclose(result.sum(axis=1), 1)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_neighbours_of_one_label_give_no_more_than_1(task):
    """The normalised weights of 20 neighbours sum to 1 + 2e-16 for one query in twenty or so."""
    generator = np.random.default_rng(0)
    labels = np.zeros(60, dtype=int) if task == "binary" else np.ones((60, 2), dtype=int)
    result = knn_probabilities(
        generator.normal(size=(60, 8)), labels, generator.normal(size=(500, 8)), task, 2
    )
    assert result.max() == 1
    assert result.min() >= 0
    np.testing.assert_allclose(result, [[1, 0]] * 500 if task == "binary" else 1, atol=1e-12)


def test_a_training_sample_is_its_own_nearest_neighbour():
    train = np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32)
    labels = np.arange(50) % 3
    np.testing.assert_allclose(
        knn_probabilities(train, labels, train, "multiclass", 3, k=1), np.eye(3)[labels]
    )


def test_extreme_features_stay_finite():
    train = np.array([[0, 0], [1e30, 0], [0, 1e-30]])
    result = knn_probabilities(train, [0, 1, 1], train, "binary", 2, k=1, temperature=1e-3)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result[1:], [[0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"k": 0}, "k >= 1"),
        ({"temperature": 0.0}, "temperature > 0"),
        ({"features": np.ones((2, 5))}, "cannot compare"),
        ({"features": np.full((2, 3), np.nan)}, "features: expected finite"),
        ({"train_labels": [0, 1, 2, 9]}, "labels"),
        ({"train_labels": [0, 1]}, "labels: expected shape"),
    ],
)
def test_malformed_arguments_are_refused(changed, named):
    arguments = {
        "train_features": np.ones((4, 3)), "train_labels": [0, 1, 2, 0], "features": np.ones((2, 3)),
        "task": "multiclass", "classes": 3,
    }  # fmt: skip
    with pytest.raises(ValueError, match=named):
        knn_probabilities(**(arguments | changed))
