"""Metrics against scikit-learn, also on resamples given as weights."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from imssl.metrics import Scores, auroc_statistic, scores, statistic


def random_predictions(task, samples=200, columns=4, seed=0):
    generator = np.random.default_rng(seed)
    if task == "multilabel":
        labels = (generator.random((samples, columns)) < 0.3).astype(int)
        # Rounded, so that ties are common.
        return labels, np.round(np.clip(0.3 * labels + 0.7 * generator.random((samples, columns)), 0, 1), 1)
    columns = 2 if task == "binary" else columns
    labels = generator.integers(columns, size=samples)
    logits = np.round(generator.normal(size=(samples, columns)) + 1.5 * np.eye(columns)[labels], 1)
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def sklearn_value(metric, task, labels, probabilities, weights):
    """The metric of one resample by scikit-learn, with the counts as sample weights."""
    drawn = weights > 0
    labels, probabilities, weights = labels[drawn], probabilities[drawn], weights[drawn]
    columns = probabilities.shape[1]
    if task == "multilabel":
        truth, guess = labels, (probabilities >= 0.5).astype(int)
    else:
        truth, guess = (
            np.eye(columns, dtype=int)[labels],
            np.eye(columns, dtype=int)[probabilities.argmax(axis=1)],
        )
    if metric in ("auroc", "macro_auroc"):
        # Of one class alone some versions give NaN, and older ones raise an error.
        used = [c for c in ([1] if task == "binary" else range(columns)) if 0 < truth[:, c].mean() < 1]
        values = [
            reference.roc_auc_score(truth[:, c], probabilities[:, c], sample_weight=weights) for c in used
        ]
        return np.mean(values) if values else np.nan
    if metric == "macro_f1":
        return reference.f1_score(truth, guess, average="macro", sample_weight=weights, zero_division=np.nan)
    if metric == "accuracy" and task == "multilabel":
        return np.mean(
            [
                reference.accuracy_score(truth[:, c], guess[:, c], sample_weight=weights)
                for c in range(columns)
            ]
        )
    if metric == "accuracy":
        return reference.accuracy_score(labels, guess.argmax(axis=1), sample_weight=weights)
    if metric == "balanced_accuracy" and task == "multilabel":
        both = [c for c in range(columns) if 0 < truth[:, c].mean() < 1]
        return np.mean(
            [reference.balanced_accuracy_score(truth[:, c], guess[:, c], sample_weight=weights) for c in both]
        )
    if metric == "balanced_accuracy":
        return reference.balanced_accuracy_score(labels, guess.argmax(axis=1), sample_weight=weights)
    return reference.cohen_kappa_score(
        labels, guess.argmax(axis=1), labels=np.arange(columns), weights="quadratic", sample_weight=weights
    )


METRICS = [
    (task, metric)
    for task in ("multilabel", "binary", "multiclass", "ordinal")
    for metric in ("macro_auroc", "macro_f1", "accuracy", "balanced_accuracy")
] + [("binary", "auroc"), ("ordinal", "qwk")]


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_every_metric_equals_scikit_learn_on_resamples(task, metric):
    labels, probabilities = random_predictions(task)
    counts = np.random.default_rng(1).multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=20)
    values = statistic(metric, task, labels, probabilities)(counts.astype(np.int32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [sklearn_value(metric, task, labels, probabilities, row) for row in counts]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_every_metric_equals_scikit_learn_on_few_samples_with_missing_classes(task, metric):
    labels, probabilities = random_predictions(task, samples=12, columns=6, seed=3)
    counts = np.random.default_rng(2).multinomial(12, np.full(12, 1 / 12), size=60).astype(np.int32)
    values = statistic(metric, task, labels, probabilities)(counts)
    for row, value in zip(counts, values, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = sklearn_value(metric, task, labels, probabilities, row)
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("share_of_positives", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("decimals", [1, 15])
def test_auroc_is_the_share_of_ordered_pairs(share_of_positives, decimals):
    generator = np.random.default_rng(4)
    positive = generator.random(300) < share_of_positives
    score = np.round(generator.random(300), decimals).astype(np.float32)
    counts = generator.integers(0, 4, size=(5, 300)).astype(np.int32)
    values = auroc_statistic(positive, score)(counts)
    for row, value in zip(counts, values, strict=True):
        resample_score, resample_positive = np.repeat(score, row), np.repeat(positive, row)
        pairs = resample_score[resample_positive][:, None] - resample_score[~resample_positive]
        assert value == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean(), abs=1e-12)


def test_auroc_agrees_with_the_rank_sum_and_at_its_ends():
    generator = np.random.default_rng(5)
    positive, score = generator.random(50) < 0.4, generator.normal(size=50)
    once = np.ones((1, 50), dtype=np.int32)
    u = stats.mannwhitneyu(score[positive], score[~positive]).statistic
    assert auroc_statistic(positive, score)(once)[0] == pytest.approx(
        u / (positive.sum() * (~positive).sum())
    )
    assert auroc_statistic(positive, positive.astype(float))(once)[0] == 1
    assert auroc_statistic(positive, -positive.astype(float))(once)[0] == 0
    assert auroc_statistic(positive, np.zeros(50))(once)[0] == 0.5


def test_scores_name_classes_without_both_labels():
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 1]])
    probabilities = np.array([[0.9, 0.1, 0.8], [0.2, 0.1, 0.7], [0.6, 0.2, 0.1], [0.7, 0.1, 0.9]])
    assert scores("multilabel", labels, probabilities, ["a", "Hernia", "b"]) == Scores(
        macro_auroc=(0.75 + 1.0) / 2,
        auroc_per_class={"a": 0.75, "Hernia": None, "b": 1.0},
        undefined_classes=["Hernia"],
        # Nobody has Hernia or is predicted to have it, so it has no F1; label "a" has 2 hits, 1 false alarm.
        macro_f1=(0.8 + 1.0) / 2,
        accuracy=pytest.approx(11 / 12),
        balanced_accuracy=0.875,
        qwk=None,
    )


def test_scores_of_a_binary_task_report_the_positive_class():
    labels, probabilities = random_predictions("binary")
    result = scores("binary", labels, probabilities, ["benign", "malignant"])
    assert result.auroc_per_class == {"malignant": result.macro_auroc}
    assert result.macro_auroc == pytest.approx(
        reference.roc_auc_score(labels, probabilities[:, 1]), abs=1e-12
    )


def test_scores_that_are_all_undefined_are_none_not_nan():
    result = scores("ordinal", [1, 1], [[0.1, 0.8, 0.1], [0.2, 0.5, 0.3]], ["0", "1", "2"])
    assert result.macro_auroc is None
    assert result.qwk is None
    assert result.undefined_classes == ["0", "1", "2"]
    assert result.accuracy == 1
    assert result.macro_f1 == 1


def test_kappa_counts_the_grades_that_do_not_occur():
    labels, probabilities = np.array([0, 0, 4, 4]), np.eye(5)[[0, 4, 4, 3]]
    expected = reference.cohen_kappa_score(labels, [0, 4, 4, 3], labels=range(5), weights="quadratic")
    assert scores("ordinal", labels, probabilities, list("01234")).qwk == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("task", "labels", "probabilities", "named"),
    [
        ("binary", [0, 1], [[0.5, 0.5], [np.nan, 0.1]], "probabilities: 1 of 2 rows"),
        ("binary", [0, 1], [[0.5, 0.5], [np.inf, 0.1]], "NaN or infinite"),
        ("binary", [0, 1], [[0.2, 0.3, 0.5]] * 2, "2 columns"),
        ("binary", [0, 1], [0.1, 0.9], "expected shape"),
        ("binary", [0, 1, 1], [[0.5, 0.5]] * 2, "labels: expected shape"),
        ("multiclass", [0, 3], [[0.2, 0.3, 0.5]] * 2, "labels: .* from 0 to 2"),
        ("multiclass", [0, -1], [[0.2, 0.3, 0.5]] * 2, "labels: .* from 0 to 2"),
        ("multiclass", [0, 0.5], [[0.2, 0.3, 0.5]] * 2, "labels: .* whole numbers"),
        ("multiclass", [0, np.nan], [[0.2, 0.3, 0.5]] * 2, "labels: .* whole numbers"),
        ("multiclass", ["a", "b"], [[0.2, 0.3, 0.5]] * 2, "labels: .* whole numbers"),
        ("multilabel", [[0, 2]], [[0.2, 0.3]], "labels: .* from 0 to 1"),
        ("multilabel", [0, 1], [[0.2, 0.3]] * 2, "labels: expected shape"),
        ("multilabel", [[0, 1]], [[-3.0, 2.0]], "outside"),
        ("multilabel", np.zeros((0, 2)), np.zeros((0, 2)), "expected shape"),
        ("regression", [0, 1], [[0.5, 0.5]] * 2, "unknown task"),
    ],
)
def test_malformed_predictions_are_refused_by_name(task, labels, probabilities, named):
    with pytest.raises(ValueError, match=named):
        scores(task, labels, probabilities, ["a"] * np.shape(probabilities)[-1])


def test_metrics_that_do_not_fit_the_task_are_refused():
    labels, probabilities = random_predictions("multiclass")
    for metric, named in (("auroc", "binary"), ("qwk", "ordinal"), ("precision", "unknown metric")):
        with pytest.raises(ValueError, match=named):
            statistic(metric, "multiclass", labels, probabilities)
    with pytest.raises(ValueError, match="classes: 3 names for 4"):
        scores("multiclass", labels, probabilities, ["a", "b", "c"])
