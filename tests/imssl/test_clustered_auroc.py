"""The clustered AUROC against scikit-learn, DeLong's formula and simulated patients."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from imssl.clustered_auroc import clustered_auroc


def drawn(patients, images, seed=0, shared=1.0):
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), images)
    positive = generator.random(patient.size) < 0.4
    alike = shared * generator.normal(size=patients)[patient]
    scores = np.round(positive + alike + generator.normal(size=patient.size), 1)
    return positive, scores, patient.astype(str)


def test_value_is_scikit_learns_mean_over_runs():
    positive, scores, patients = drawn(20, 3)
    other = np.roll(scores, 5)
    auroc = clustered_auroc(positive, np.stack([scores, other]), patients)
    expected = (roc_auc_score(positive, scores) + roc_auc_score(positive, other)) / 2
    assert auroc.value == pytest.approx(expected, rel=1e-12)


def test_with_one_image_to_each_patient_the_error_is_delongs():
    positive, scores, patients = drawn(50, 1)
    pairs = scores[positive][:, None] - scores[~positive][None, :]
    kernel = (pairs > 0) + 0.5 * (pairs == 0)
    variance = np.var(kernel.mean(axis=1), ddof=1) / positive.sum()
    variance += np.var(kernel.mean(axis=0), ddof=1) / (~positive).sum()
    # Obuchowski's third term is left: with one image to each patient no placements of both kinds meet in one.
    auroc = clustered_auroc(positive, scores[None], patients)
    assert auroc.standard_error == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_the_error_is_the_spread_over_drawn_patients():
    runs = [drawn(40, 4, seed, shared=2.0) for seed in range(300)]
    aurocs = [clustered_auroc(positive, scores[None], patients) for positive, scores, patients in runs]
    spread = np.std([auroc.value for auroc in aurocs])
    assert np.mean([auroc.standard_error for auroc in aurocs]) == pytest.approx(spread, rel=0.15)


def test_without_both_sides_there_is_no_auroc_and_with_one_patient_no_error():
    scores, patients = np.arange(4.0)[None], np.array(["a", "b", "b", "c"])
    assert clustered_auroc(np.zeros(4, dtype=bool), scores, patients) is None
    assert clustered_auroc(np.array([True, False, False, False]), scores, patients).standard_error is None
