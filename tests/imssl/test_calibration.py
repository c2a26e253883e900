"""Calibration against scikit-learn, torchmetrics, plain loops and models of known calibration."""

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import binary_calibration_error

from imssl.calibration import (
    brier_score,
    brier_statistic,
    calibration_error,
    calibration_error_statistic,
    reliability,
)


def binary(samples=500, seed=0, sharpened=1.0):
    """Outcomes of known probability, and predictions that are too sure of them."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=samples)
    labels = (draw.random(samples) < 1 / (1 + np.exp(-logits))).astype(int)
    predicted = 1 / (1 + np.exp(-sharpened * logits))
    return labels, np.c_[1 - predicted, predicted]


def classes(samples=300, seed=0):
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet([1, 2, 0.5], samples)
    labels = np.array([draw.choice(3, p=p) for p in probabilities])
    return labels, probabilities


def test_brier_scores_equal_scikit_learn():
    labels, probabilities = binary()
    assert brier_score("binary", labels, probabilities) == pytest.approx(
        brier_score_loss(labels, probabilities[:, 1])
    )
    labels, probabilities = classes()
    by_class = [brier_score_loss(labels == c, probabilities[:, c]) for c in range(3)]
    assert brier_score("multiclass", labels, probabilities) == pytest.approx(np.sum(by_class))
    several = (np.random.default_rng(1).random((300, 3)) < 0.3).astype(int)
    by_label = [brier_score_loss(several[:, c], probabilities[:, c]) for c in range(3)]
    assert brier_score("multilabel", several, probabilities) == pytest.approx(np.mean(by_label))


@pytest.mark.parametrize("bins", [5, 15])
def test_the_diagram_of_a_binary_task_equals_scikit_learn(bins):
    labels, probabilities = binary()
    (found,) = reliability("binary", labels, probabilities, bins)
    happened, predicted = calibration_curve(labels, probabilities[:, 1], n_bins=bins, strategy="quantile")
    np.testing.assert_allclose(found.confidence, predicted, atol=1e-12)
    np.testing.assert_allclose(found.frequency, happened, atol=1e-12)
    assert found.samples.sum() == 500
    assert found.samples.max() - found.samples.min() <= 1
    assert found.calibration_error == pytest.approx(calibration_error("binary", labels, probabilities, bins))


def test_where_bins_of_equal_mass_are_of_equal_width_it_equals_torchmetrics():
    draw = np.random.default_rng(3)
    predicted = (np.arange(400) + 0.5) / 400
    labels = (draw.random(400) < predicted**2).astype(int)
    found = calibration_error("binary", labels, np.c_[1 - predicted, predicted], bins=10)
    expected = binary_calibration_error(torch.from_numpy(predicted), torch.from_numpy(labels), n_bins=10)
    assert found == pytest.approx(expected.item(), abs=1e-6)


def test_the_error_of_several_classes_is_of_the_predicted_one():
    labels, probabilities = classes()
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == labels).astype(int)
    expected = calibration_error("binary", right, np.c_[1 - confidence, confidence], bins=8)
    assert calibration_error("ordinal", labels, probabilities, bins=8) == pytest.approx(expected)
    assert len(reliability("ordinal", labels, probabilities)) == 1


def test_labels_are_averaged():
    several = (np.random.default_rng(1).random((300, 3)) < 0.3).astype(int)
    _, probabilities = classes()
    by_label = [
        calibration_error("binary", several[:, c], np.c_[1 - probabilities[:, c], probabilities[:, c]])
        for c in range(3)
    ]
    assert calibration_error("multilabel", several, probabilities) == pytest.approx(np.mean(by_label))
    diagrams = reliability("multilabel", several, probabilities)
    assert [diagram.calibration_error for diagram in diagrams] == pytest.approx(by_label)


def test_a_calibrated_model_is_told_from_one_that_is_too_sure():
    errors = [calibration_error("binary", *binary(20_000, sharpened=s)) for s in (1.0, 3.0)]
    assert errors[0] < 0.02
    assert errors[1] > 0.08


def test_equal_probabilities_share_a_bin():
    labels = np.array([0, 1, 1, 0, 1, 0])
    (found,) = reliability("binary", labels, np.full((6, 2), 0.5), bins=3)
    assert (found.confidence.tolist(), found.frequency.tolist(), found.samples.tolist()) == (
        [0.5],
        [0.5],
        [6],
    )
    with pytest.raises(ValueError, match="bins"):
        reliability("binary", labels, np.full((6, 2), 0.5), bins=0)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_on_counts_they_equal_repeated_samples(task):
    labels, probabilities = binary(80) if task == "binary" else classes(80)
    counts = np.random.default_rng(5).multinomial(80, np.ones(80) / 80, size=20)
    briers = brier_statistic(task, labels, probabilities)(counts)
    errors = calibration_error_statistic(task, labels, probabilities, bins=6)(counts)
    confidence = probabilities[:, 1] if task == "binary" else probabilities.max(axis=1)
    true = labels == 1 if task == "binary" else probabilities.argmax(axis=1) == labels
    edges = np.quantile(confidence, np.arange(1, 6) / 6)
    for i, row in enumerate(counts):
        repeated = np.repeat(np.arange(80), row)
        expected = brier_score(task, labels[repeated], probabilities[repeated])
        assert briers[i] == pytest.approx(expected, abs=1e-12)
        gaps = 0.0
        for number in range(6):  # the bins stay those of the samples as they are
            here = [j for j in repeated if (confidence[j] > edges).sum() == number]
            gaps += abs(sum(confidence[j] - true[j] for j in here)) / 80
        assert errors[i] == pytest.approx(gaps, abs=1e-12)
