"""AUROC by pairs of patients is the AUROC by sorting, on every resample."""

import numpy as np
import pytest

from bench.summary.bootstrap import resample_counts
from bench.summary.patient_pairs import PatientPairs
from imssl.metrics import statistic


@pytest.mark.parametrize(("task", "classes"), [("multilabel", 4), ("binary", 2), ("multiclass", 3)])
@pytest.mark.parametrize("samples", [40, 9000])
def test_it_is_the_statistic_on_every_resample(task, classes, samples):
    draw = np.random.default_rng(samples)
    labels = draw.integers(classes, size=samples)
    positive = labels[:, None] == np.arange(classes)
    if task == "multilabel":
        # The last class is in one patient only, and so undefined in some resamples; patients differ in size.
        positive = draw.random((samples, classes)) < [0.5, 0.3, 0.1, 0.0]
        positive[0, 3] = True
        labels = positive.astype(int)
    patients = np.array([f"p{int(i)}" for i in np.sqrt(np.arange(samples))])
    # Rounded, so that there are ties.
    runs = [draw.dirichlet(np.ones(classes), samples).round(2) for _ in range(3)]
    counts = np.concatenate(list(resample_counts(patients, 50, 0)))
    own = slice(1, 2) if task == "binary" else slice(None)
    pairs = PatientPairs(positive[:, own], patients, counts)
    found = pairs.mean_aurocs([run[:, own] for run in runs])
    metric = "auroc" if task == "binary" else "macro_auroc"
    expected = [statistic(metric, task, labels, run)(counts) for run in runs]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    # Large enough sums are beyond the whole numbers of float32.
    assert pairs.weights.dtype == (np.float32 if samples == 40 else np.float64)


def test_a_resample_without_a_defined_class_has_no_value():
    positive = np.array([[True], [False]])
    counts = np.array([[1, 1], [2, 0]], dtype=np.int32)
    (found,) = PatientPairs(positive, np.array(["a", "b"]), counts).mean_aurocs([np.array([[0.9], [0.1]])])
    np.testing.assert_array_equal(found, [1.0, np.nan])
