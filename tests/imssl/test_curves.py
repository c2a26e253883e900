"""Average precision and sensitivity against scikit-learn and torchmetrics, also on resamples."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_curve
from torchmetrics.functional.classification import (
    binary_sensitivity_at_specificity,
    multiclass_average_precision,
    multilabel_average_precision,
)

from imssl.curves import (
    average_precision,
    average_precision_statistic,
    macro_average_precision_statistic,
    sensitivity_at_specificity,
    sensitivity_statistic,
)

NAMES = ["a", "b", "c", "d"]


def drawn(seed=0, samples=200, decimals=None):
    """Labels and scores that know something of them; ties where they are rounded."""
    draw = np.random.default_rng(seed)
    labels = draw.random((samples, 4)) < [0.5, 0.2, 0.1, 0.03]
    scores = 1 / (1 + np.exp(-draw.normal(size=(samples, 4)) - labels))
    return labels.astype(int), scores if decimals is None else scores.round(decimals)


@pytest.mark.parametrize("decimals", [None, 1])
def test_average_precision_equals_scikit_learn_and_torchmetrics(decimals):
    labels, scores = drawn(decimals=decimals)
    found = average_precision("multilabel", labels, scores, NAMES)
    for column, name in enumerate(NAMES):
        expected = average_precision_score(labels[:, column], scores[:, column])
        assert found.per_class[name] == pytest.approx(expected, abs=1e-12)
        assert found.prevalence[name] == labels[:, column].mean()
    tensors = torch.from_numpy(scores), torch.from_numpy(labels)
    assert found.macro == pytest.approx(multilabel_average_precision(*tensors, num_labels=4).item(), abs=1e-6)


def test_average_precision_of_classes():
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 4, 150)
    scores = draw.dirichlet(np.ones(4), 150) * 0.5 + 0.5 * np.eye(4)[labels] * draw.random((150, 1))
    scores /= scores.sum(axis=1, keepdims=True)
    found = average_precision("ordinal", labels, scores, NAMES)
    tensors = torch.from_numpy(scores), torch.from_numpy(labels)
    assert found.macro == pytest.approx(
        multiclass_average_precision(*tensors, num_classes=4).item(), abs=1e-6
    )
    binary = average_precision(
        "binary", (labels > 1).astype(int), np.c_[1 - scores[:, 3], scores[:, 3]], NAMES[:2]
    )
    assert list(binary.per_class) == ["b"]
    assert binary.macro == pytest.approx(average_precision_score(labels > 1, scores[:, 3]), abs=1e-12)
    assert binary.prevalence == {"b": (labels > 1).mean()}


def test_without_skill_it_is_the_prevalence():
    labels = (np.random.default_rng(2).random(20_000) < 0.1).astype(int)
    scores = np.random.default_rng(3).random(20_000)
    found = average_precision("binary", labels, np.c_[1 - scores, scores], ["no", "yes"])
    assert found.macro == pytest.approx(found.prevalence["yes"], abs=0.01)


def test_a_class_with_one_value_is_left_out():
    labels, scores = drawn()
    labels[:, 1], labels[:, 2] = 0, 1
    found = average_precision("multilabel", labels, scores, NAMES)
    assert found.per_class["b"] is None
    assert found.per_class["c"] is None
    assert found.macro == pytest.approx(np.mean([found.per_class["a"], found.per_class["d"]]))


@pytest.mark.parametrize("decimals", [None, 1])
def test_on_counts_they_equal_repeated_samples(decimals):
    labels, scores = drawn(4, samples=60, decimals=decimals)
    positive, score = labels[:, 1] == 1, scores[:, 1]
    counts = np.random.default_rng(5).multinomial(60, np.ones(60) / 60, size=40)
    areas = average_precision_statistic(positive, score)(counts)
    reached = sensitivity_statistic(positive, score, 0.9)(counts)
    macro = macro_average_precision_statistic("multilabel", labels, scores)(counts)
    for i, row in enumerate(counts):
        repeated = np.repeat(np.arange(60), row)
        truth = positive[repeated]
        both = [c for c in range(4) if 0 < labels[repeated, c].sum() < 60]
        expected = [average_precision_score(labels[repeated, c], scores[repeated, c]) for c in both]
        assert macro[i] == pytest.approx(np.mean(expected), abs=1e-12)
        if 1 not in both:
            assert np.isnan(areas[i])
            continue
        assert areas[i] == pytest.approx(average_precision_score(truth, score[repeated]), abs=1e-12)
        false_alarms, hits, _ = roc_curve(truth, score[repeated], drop_intermediate=False)
        assert reached[i] == pytest.approx(hits[1 - false_alarms >= 0.9 - 1e-9].max(), abs=1e-12)
    one_value = np.where(positive, 1, 0)[None]
    assert np.isnan(average_precision_statistic(positive, score)(one_value)).all()
    assert np.isnan(sensitivity_statistic(positive, score)(np.stack([one_value[0], 1 - one_value[0]]))).all()


@pytest.mark.parametrize("specificity", [0.0, 0.5, 0.9, 1.0])
def test_sensitivity_equals_torchmetrics(specificity):
    labels, scores = drawn(6, samples=300)
    found = sensitivity_at_specificity(labels[:, 0], np.c_[1 - scores[:, 0], scores[:, 0]], specificity)
    tensors = torch.from_numpy(scores[:, 0]), torch.from_numpy(labels[:, 0])
    expected, _ = binary_sensitivity_at_specificity(*tensors, min_specificity=specificity)
    assert found == pytest.approx(expected.item(), abs=1e-6)
    assert sensitivity_at_specificity(np.zeros(4, int), np.full((4, 2), 0.5)) is None
