"""What verify recomputes has the names and the values of what the stages store."""

from collections import Counter
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics

from bench.cells.scores import score_rows
from bench.trust.verify.recomputed import cka_interval_values, cka_values, scores
from imssl.calibration import calibration_error
from imssl.cka import permutation_null
from imssl.cka_interval import patient_interval

CLASSES = ["a", "b", "c"]


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass", "ordinal"])
@pytest.mark.parametrize("decimals", [None, 1])
def test_every_score_is_recomputed(task, decimals):
    draw = np.random.default_rng(0)
    classes = CLASSES[:2] if task == "binary" else CLASSES
    probabilities = draw.dirichlet(np.ones(len(classes)), 90)
    if task == "multilabel":
        labels = (draw.random((90, 3)) < [0.4, 0.1, 0.0]).astype(int)  # the last one never occurs
    else:
        labels = draw.integers(0, len(classes), 90)
    if decimals is not None:
        probabilities = probabilities.round(decimals)
    stored = score_rows(SimpleNamespace(task=task, classes=classes), labels, probabilities)
    recomputed = scores(task, labels, probabilities, classes)
    assert {(row.get("class", ""), row["metric"]) for row in stored} == set(recomputed)
    for row in stored:
        value = recomputed[row.get("class", ""), row["metric"]]
        assert row["value"] == (None if value is None else pytest.approx(value, abs=1e-9)), row


@pytest.mark.parametrize("images", [31, 61, 76, 106, 181])
def test_samples_on_the_edges_of_the_bins_are_no_disagreement(images):
    """With 15 k + 1 images every edge between bins falls on a sample, and rounding decides on which side."""
    draw = np.random.default_rng(images)
    for _ in range(100):
        score = draw.random(images).astype(np.float32).astype(float)
        probabilities, labels = np.column_stack([1 - score, score]), draw.integers(0, 2, images)
        stored = calibration_error("binary", labels, probabilities)
        value = scores("binary", labels, probabilities, CLASSES[:2])["", "calibration_error"]
        assert value == pytest.approx(stored, abs=1e-12)
        several, found = draw.random((images, 3)), draw.integers(0, 2, (images, 3))
        stored = calibration_error("multilabel", found, several)
        value = scores("multilabel", found, several, CLASSES)["", "calibration_error"]
        assert value == pytest.approx(stored, abs=1e-12)


def plain_calibration_error(score, labels, bins):
    """Edges as fractions of whole numbers; only where no sample lies on one is this the definition."""
    ordered = sorted(Fraction(value) for value in score)
    edges = []
    for i in range(1, bins):
        place = Fraction((len(ordered) - 1) * i, bins)
        low, share = ordered[int(place)], place - int(place)
        assert share
        edges.append(low + share * (ordered[int(place) + 1] - low))
    gaps = Counter()
    for value, label in zip(score, labels, strict=True):
        gaps[sum(Fraction(value) > edge for edge in edges)] += Fraction(value) - int(label)
    return float(sum(abs(gap) for gap in gaps.values()) / len(score))


def test_the_calibration_error_is_that_of_exact_edges_and_of_no_other_bins():
    draw = np.random.default_rng(5)
    score, labels = draw.random(80), draw.integers(0, 2, 80)
    value = scores("binary", labels, np.column_stack([1 - score, score]), CLASSES[:2])[
        "", "calibration_error"
    ]
    assert value == pytest.approx(plain_calibration_error(score, labels, 15), abs=1e-12)
    assert abs(value - plain_calibration_error(score, labels, 14)) > 1e-3
    labels[0] = 1 - labels[0]
    assert abs(value - plain_calibration_error(score, labels, 15)) > 1e-3


@pytest.mark.parametrize("decimals", [None, 1])
def test_the_formulas_are_those_of_scikit_learn(decimals):
    """With and without ties among the scores."""
    draw = np.random.default_rng(3)
    labels, probabilities = draw.integers(0, 4, 120), draw.dirichlet(np.ones(4), 120)
    if decimals is not None:
        probabilities = probabilities.round(decimals)
    guess, names = probabilities.argmax(axis=1), ["a", "b", "c", "d"]
    values = scores("ordinal", labels, probabilities, names)
    assert values["", "accuracy"] == pytest.approx(metrics.accuracy_score(labels, guess), abs=1e-12)
    f1 = metrics.f1_score(labels, guess, average="macro")
    assert values["", "macro_f1"] == pytest.approx(f1, abs=1e-12)
    balanced = metrics.balanced_accuracy_score(labels, guess)
    assert values["", "balanced_accuracy"] == pytest.approx(balanced, abs=1e-12)
    kappa = metrics.cohen_kappa_score(labels, guess, weights="quadratic")
    assert values["", "qwk"] == pytest.approx(kappa, abs=1e-12)
    for c, name in enumerate(names):
        positive, score = labels == c, probabilities[:, c]
        auroc, precision = (
            metrics.roc_auc_score(positive, score),
            metrics.average_precision_score(positive, score),
        )
        assert values[name, "auroc"] == pytest.approx(auroc, abs=1e-12)
        assert values[name, "average_precision"] == pytest.approx(precision, abs=1e-12)
    positive, mirrored = (
        labels > 1,
        probabilities[:, :2] / probabilities[:, :2].sum(axis=1, keepdims=True).clip(0.01),
    )
    false_alarms, hits, _ = metrics.roc_curve(positive, mirrored[:, 1], drop_intermediate=False)
    binary = scores("binary", positive.astype(int), mirrored, ["no", "yes"])
    expected = hits[false_alarms <= 0.1 + 1e-9].max()
    assert binary["", "sensitivity_at_90_specificity"] == pytest.approx(expected, abs=1e-12)
    several = draw.random((120, 3)).round(decimals or 9)
    found = draw.integers(0, 2, (120, 3))
    values = scores("multilabel", found, several, names[:3])
    at_half = (several >= 0.5).astype(int)
    f1 = np.mean([metrics.f1_score(found[:, c], at_half[:, c]) for c in range(3)])
    balanced = np.mean([metrics.balanced_accuracy_score(found[:, c], at_half[:, c]) for c in range(3)])
    assert values["", "macro_f1"] == pytest.approx(f1, abs=1e-12)
    assert values["", "balanced_accuracy"] == pytest.approx(balanced, abs=1e-12)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_cka_and_its_null_are_recomputed_for_several_comparisons_at_once(kernel):
    before, after, _ = made_up_features()
    other = after[:, ::-1] ** 2
    draw = np.random.default_rng(5)
    orders = [draw.permutation(len(before)) for _ in range(30)]
    together = cka_values(before, [after, other], kernel, 0.9, orders)
    for features, values in zip((after, other), together, strict=True):
        stored = permutation_null(
            before, features, 30, np.random.default_rng(5), kernel=kernel, bandwidth=0.9
        )
        assert values["", f"cka_{kernel}"] == pytest.approx(stored.observed, abs=1e-9)
        assert values["", f"cka_{kernel}_null_mean"] == pytest.approx(stored.mean, abs=1e-9)
        assert values["", f"cka_{kernel}_null_95"] == pytest.approx(stored.percentile_95, abs=1e-9)
        assert values["", f"cka_{kernel}_p_value"] == stored.p_value


def made_up_features(patients=12):
    """Features of images that are alike within a patient, in no order of patients."""
    draw = np.random.default_rng(1)
    names = draw.permutation(np.repeat([f"p{i}" for i in range(patients)], draw.integers(1, 6, patients)))
    of_patient = {name: draw.normal(size=6) for name in np.unique(names)}
    before = np.stack([of_patient[name] for name in names]) + draw.normal(size=(len(names), 6))
    after = before @ draw.normal(size=(6, 5)) + 2 * draw.normal(size=(len(names), 5))
    return before.astype(np.float32), after.astype(np.float32), names


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_the_interval_of_cka_is_recomputed(kernel):
    before, after, patients = made_up_features()
    stored = patient_interval(before, after, patients, kernel, bandwidth=0.8)
    recomputed, without = cka_interval_values(before, after, patients, kernel, 0.8)
    assert without == pytest.approx(stored.left_out, abs=1e-9)
    for end in ("low", "high", "standard_error"):
        assert recomputed["", f"cka_{kernel}_{end}"] == pytest.approx(getattr(stored, end), abs=1e-9)


def test_the_interval_of_cka_leaves_out_one_patient_after_another():
    before, after, patients = made_up_features()

    def plain_cka(rows):
        (values,) = cka_values(before[rows], [after[rows]], "linear", 1.0, [np.arange(rows.sum())])
        return values["", "cka_linear"]

    without = np.array([plain_cka(patients != name) for name in np.unique(patients)])
    count = len(without)
    variance = (count - 1) / count * np.sum((without - without.mean()) ** 2)
    values, _ = cka_interval_values(before, after, patients, "linear", 1.0)
    assert values["", "cka_linear_standard_error"] == pytest.approx(np.sqrt(variance), abs=1e-9)
    centre = count * plain_cka(patients != "") - (count - 1) * without.mean()
    middle = np.mean(np.arctanh([values["", "cka_linear_low"], values["", "cka_linear_high"]]))
    assert middle == pytest.approx(np.arctanh(centre), abs=1e-9)


def test_too_few_patients_have_no_interval_of_cka():
    before, after, patients = made_up_features(patients=2)
    values, without = cka_interval_values(before, after, patients, "linear", 1.0)
    assert set(values.values()) == {None}
    assert np.isnan(without).tolist() == [True, True]
