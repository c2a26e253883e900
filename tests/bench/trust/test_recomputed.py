"""What verify recomputes has the names and the values of what the stages store."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.cells.scores import score_rows
from bench.trust.verify.recomputed import cka_interval_values, cka_values, scores
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
    recomputed = cka_interval_values(before, after, patients, kernel, 0.8)
    for end in ("low", "high", "standard_error"):
        assert recomputed["", f"cka_{kernel}_{end}"] == pytest.approx(getattr(stored, end), abs=1e-9)


def test_the_interval_of_cka_leaves_out_one_patient_after_another():
    before, after, patients = made_up_features()

    def plain_cka(rows):
        return cka_values(before[rows], after[rows], "linear", 1.0, [np.arange(rows.sum())])["", "cka_linear"]

    without = np.array([plain_cka(patients != name) for name in np.unique(patients)])
    count = len(without)
    variance = (count - 1) / count * np.sum((without - without.mean()) ** 2)
    values = cka_interval_values(before, after, patients, "linear", 1.0)
    assert values["", "cka_linear_standard_error"] == pytest.approx(np.sqrt(variance), abs=1e-9)
    centre = count * plain_cka(patients != "") - (count - 1) * without.mean()
    middle = np.mean(np.arctanh([values["", "cka_linear_low"], values["", "cka_linear_high"]]))
    assert middle == pytest.approx(np.arctanh(centre), abs=1e-9)


def test_too_few_patients_have_no_interval_of_cka():
    before, after, patients = made_up_features(patients=2)
    assert set(cka_interval_values(before, after, patients, "linear", 1.0).values()) == {None}
