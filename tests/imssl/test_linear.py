"""The probe's classifier against scikit-learn at the same optimum."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from imssl.linear import Linear, fit, predict_probabilities, select


def problem(task, samples=150, width=12, classes=4, seed=0):
    """Features of unequal scale and offset, with labels that depend on some of them."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(samples, width)) * np.logspace(-2, 2, width) + np.arange(width)
    centred = (features - features.mean(axis=0)) / features.std(axis=0)
    logits = centred[:, :classes] + generator.logistic(size=(samples, classes)) - 0.4 * np.arange(classes)
    return features, (logits > 0).astype(int) if task == "multilabel" else logits.argmax(axis=1)


def sklearn_probabilities(features, labels, l2, class_weights):
    """scikit-learn minimises C * sum of losses + |w|^2 / 2."""
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    model = LogisticRegression(
        C=1 / (l2 * len(labels)),
        tol=1e-9,
        max_iter=20_000,
        class_weight="balanced" if class_weights == "balanced" else None,
    )
    return model.fit(standardised, labels).predict_proba(standardised)


@pytest.mark.parametrize("class_weights", ["balanced", "none"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal"])
@pytest.mark.parametrize("width", [12, 200])
def test_softmax_finds_the_optimum_of_scikit_learn(task, width, class_weights):
    classes = 2 if task == "binary" else 4
    features, labels = problem(task, classes=classes, width=width)
    strengths = [1e-3, 1.0, 1e-2]
    for linear, l2 in zip(
        fit(features, labels, task, classes, strengths, class_weights), strengths, strict=True
    ):
        # Two softmax weights of opposite sign share the norm of one sigmoid weight twice their size.
        equivalent = l2 / 2 if task == "binary" else l2
        expected = sklearn_probabilities(features, labels, equivalent, class_weights)
        assert linear.converged
        assert linear.l2 == l2
        np.testing.assert_allclose(predict_probabilities(linear, features), expected, atol=1e-4)


@pytest.mark.parametrize("class_weights", ["balanced", "none"])
def test_multilabel_equals_independent_binary_fits(class_weights):
    features, labels = problem("multilabel", classes=5)
    strengths = [1.0, 1e-1, 1e-3]
    for linear in fit(features, labels, "multilabel", 5, strengths, class_weights):
        expected = np.column_stack(
            [sklearn_probabilities(features, labels[:, c], linear.l2, class_weights)[:, 1] for c in range(5)]
        )
        np.testing.assert_allclose(predict_probabilities(linear, features), expected, atol=1e-4)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_gradient_vanishes_at_the_solution(task):
    features, labels = problem(task, width=8)
    (linear,) = fit(features, labels, task, 4, [0.05])
    scale = features.std(axis=0)
    standardised = (features - features.mean(axis=0)) / scale
    targets = labels if task == "multilabel" else np.eye(4)[labels]
    residual = predict_probabilities(linear, features) - targets
    gradient = residual.T @ standardised / len(features) + 0.05 * linear.weight * scale
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=1e-6)


def test_the_path_does_not_depend_on_its_order():
    features, labels = problem("multiclass")
    strengths = [1e-3, 1e-1, 1e-2]
    together = fit(features, labels, "multiclass", 4, strengths)
    assert [linear.l2 for linear in together] == strengths
    for linear in together:
        (alone,) = fit(features, labels, "multiclass", 4, [linear.l2])
        np.testing.assert_allclose(
            predict_probabilities(alone, features), predict_probabilities(linear, features), atol=1e-5
        )


def test_absent_classes_are_given_no_probability():
    features, labels = problem("multiclass", classes=3)
    present = np.array([0, 2, 5])[labels]
    (linear,) = fit(features, present, "multiclass", 6, [1e-2], "balanced")
    (expected,) = fit(features, labels, "multiclass", 3, [1e-2], "balanced")
    probabilities = predict_probabilities(linear, features)
    assert probabilities.shape == (150, 6)
    assert probabilities[:, [1, 3, 4]].max() < 1e-12
    np.testing.assert_allclose(
        probabilities[:, [0, 2, 5]], predict_probabilities(expected, features), atol=1e-9
    )


@pytest.mark.parametrize("class_weights", ["balanced", "none"])
def test_a_single_class_is_predicted_everywhere(class_weights):
    features, _ = problem("binary")
    (linear,) = fit(features, np.ones(150, int), "binary", 2, [1e-2], class_weights)
    np.testing.assert_allclose(predict_probabilities(linear, features), np.tile([0, 1], (150, 1)), atol=1e-12)


def test_labels_without_both_values_get_a_constant():
    features, labels = problem("multilabel", classes=3)
    labels = np.column_stack([labels, np.zeros(150, int), np.ones(150, int)])
    (linear,) = fit(features, labels, "multilabel", 5, [1e-2], "balanced")
    (expected,) = fit(features, labels[:, :3], "multilabel", 3, [1e-2], "balanced")
    probabilities = predict_probabilities(linear, features)
    np.testing.assert_allclose(probabilities[:, :3], predict_probabilities(expected, features), atol=1e-6)
    np.testing.assert_allclose(probabilities[:, 3], 0, atol=1e-12)
    np.testing.assert_allclose(probabilities[:, 4], 1, atol=1e-12)


def test_features_that_do_not_vary_are_ignored():
    features, labels = problem("multiclass")
    (expected,) = fit(features, labels, "multiclass", 4, [1e-2])
    (linear,) = fit(np.column_stack([features, np.full(150, 0.1)]), labels, "multiclass", 4, [1e-2])
    np.testing.assert_array_equal(linear.weight[:, -1], 0)
    np.testing.assert_allclose(linear.weight[:, :-1], expected.weight, atol=1e-5)
    (constant,) = fit(np.ones((150, 2)), labels, "multiclass", 4, [1e-2])
    frequencies = np.bincount(labels, minlength=4) / 150
    np.testing.assert_allclose(predict_probabilities(constant, np.zeros((1, 2))), [frequencies], atol=1e-6)


def test_one_sample_is_enough():
    (linear,) = fit(np.ones((1, 3)), [1], "multiclass", 3, [1.0])
    np.testing.assert_allclose(predict_probabilities(linear, np.zeros((2, 3))), [[0, 1, 0]] * 2, atol=1e-12)


def candidate(l2):
    return Linear("binary", l2, np.zeros((2, 1)), np.zeros(2), True)


def test_select_takes_the_best_and_of_equals_the_most_regularised():
    candidates = [candidate(l2) for l2 in (1e-3, 1e-1, 1e-2)]
    assert select(candidates, lambda c: {1e-3: 0.7, 1e-2: 0.8, 1e-1: 0.8}[c.l2]).l2 == 1e-1
    assert select(candidates, lambda c: {1e-3: 0.9, 1e-2: 0.8, 1e-1: 0.8}[c.l2]).l2 == 1e-3
    assert select(candidates, lambda c: {1e-3: 0.7, 1e-2: None, 1e-1: float("nan")}[c.l2]).l2 == 1e-3
    assert select(candidates, lambda c: None).l2 == 1e-1
    with pytest.raises(ValueError, match="candidates"):
        select([], lambda c: 0.0)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"features": np.full((4, 2), np.nan)}, "features: hold NaN"),
        ({"features": np.ones(4)}, "features: expected shape"),
        ({"labels": [0, 1, 2, 3]}, "labels"),
        ({"labels": [0, 1]}, "labels: expected shape"),
        ({"strengths": []}, "strengths"),
        ({"strengths": [0.0]}, "strengths"),
        ({"class_weights": "sqrt"}, "class_weights"),
    ],
)
def test_malformed_arguments_are_refused(changed, named):
    arguments = {
        "features": np.arange(8.0).reshape(4, 2), "labels": [0, 1, 2, 0], "task": "multiclass", "classes": 3,
        "strengths": [1.0],
    }  # fmt: skip
    with pytest.raises(ValueError, match=named):
        fit(**(arguments | changed))


def test_prediction_refuses_other_features():
    (linear,) = fit(np.arange(8.0).reshape(4, 2), [0, 1, 2, 0], "multiclass", 3, [1.0])
    with pytest.raises(ValueError, match="expects 2 columns, got 3"):
        predict_probabilities(linear, np.ones((1, 3)))
