"""Bootstrap intervals: the resamples, the values on them, and the coverage."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.summary import bootstrap as bootstrap_file
from bench.summary.bootstrap import bootstrap, interval, percentile_interval, resample_counts


def test_counts_draw_whole_patients_with_replacement():
    patients = np.array(["b", "a", "b", "c", "a", "b"])
    counts = np.concatenate(list(resample_counts(patients, 500, seed=0)))
    assert counts.shape == (500, 6)
    for patient in "abc":
        own = counts[:, patients == patient]
        assert (own == own[:, :1]).all()
    by_patient = counts[:, [1, 0, 3]]
    assert (by_patient.sum(axis=1) == 3).all()
    # Multinomial(3; 1/3, 1/3, 1/3): mean 1, variance 2/3.
    np.testing.assert_allclose(by_patient.mean(axis=0), 1, atol=0.12)
    np.testing.assert_allclose(by_patient.var(axis=0), 2 / 3, atol=0.12)


def test_counts_do_not_depend_on_chunks_or_on_the_order_of_samples(monkeypatch):
    patients = np.random.default_rng(0).integers(40, size=101)
    whole = np.concatenate(list(resample_counts(patients, 50, seed=3)))
    order = np.random.default_rng(1).permutation(101)
    np.testing.assert_array_equal(
        np.concatenate(list(resample_counts(patients[order], 50, seed=3))), whole[:, order]
    )
    monkeypatch.setattr(bootstrap_file, "CHUNK", 707)
    chunks = list(resample_counts(patients, 50, seed=3))
    assert [len(chunk) for chunk in chunks] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)
    assert not np.array_equal(np.concatenate(list(resample_counts(patients, 50, seed=4))), whole)


def test_values_equal_scikit_learn_on_repeated_samples():
    generator = np.random.default_rng(5)
    labels = (generator.random((300, 3)) < [0.02, 0.3, 0.9]).astype(int)
    probabilities = np.round(np.clip(0.2 * labels + generator.random((300, 3)) * 0.8, 0, 1), 2)
    patients = generator.integers(80, size=300)
    values = bootstrap("multilabel", labels, probabilities, patients, "macro_auroc", 40, seed=9)
    rows = np.concatenate(list(resample_counts(patients, 40, seed=9)))
    for counts, value in zip(rows, values, strict=True):
        index = np.repeat(np.arange(300), counts)
        defined = [c for c in range(3) if 0 < labels[index, c].mean() < 1]
        expected = np.mean([roc_auc_score(labels[index, c], probabilities[index, c]) for c in defined])
        assert value == pytest.approx(expected, abs=1e-12)


def test_interval_is_the_percentiles_of_the_values():
    generator = np.random.default_rng(6)
    labels = generator.integers(3, size=90)
    probabilities = generator.dirichlet(np.ones(3), size=90)
    patients = np.arange(90) // 3
    for metric in ("macro_auroc", "macro_f1", "accuracy", "balanced_accuracy", "qwk"):
        values = bootstrap("ordinal", labels, probabilities, patients, metric, 200, seed=1)
        result = interval("ordinal", labels, probabilities, patients, metric, 200, seed=1, level=0.9)
        np.testing.assert_allclose([result.low, result.high], np.percentile(values, [5, 95]), rtol=1e-12)
        assert result.low < result.value < result.high
        assert (result.unit, result.units, result.undefined, result.level) == ("patients", 30, 0, 0.9)


def test_without_patients_the_samples_are_resampled():
    labels, probabilities = np.array([0, 1] * 20), np.full((40, 2), 0.5)
    result = interval("binary", labels, probabilities, [f"id{i}" for i in range(40)], "auroc", 100, seed=0)
    assert (result.unit, result.units) == ("samples", 40)
    assert (result.value, result.low, result.high) == (0.5, 0.5, 0.5)


def test_patients_with_many_alike_samples_widen_the_interval():
    generator = np.random.default_rng(7)
    labels = np.repeat(generator.integers(2, size=30), 20)
    positive = np.repeat(np.clip(generator.normal(0.5, 0.2, size=30), 0, 1), 20)
    probabilities = np.column_stack([1 - positive, positive])
    by_patient = interval("binary", labels, probabilities, np.repeat(np.arange(30), 20), "auroc", 500, seed=0)
    by_sample = interval("binary", labels, probabilities, np.arange(600), "auroc", 500, seed=0)
    assert by_patient.high - by_patient.low > 2.5 * (by_sample.high - by_sample.low)


def test_undefined_resamples_are_counted_and_left_out():
    labels, positive = np.array([1, 0, 0, 0, 0]), np.array([0.9, 0.1, 0.2, 0.3, 0.95])
    result = interval(
        "binary", labels, np.column_stack([1 - positive, positive]), range(5), "auroc", 1000, seed=2
    )
    without_the_positive = (4 / 5) ** 5
    assert result.undefined / 1000 == pytest.approx(without_the_positive, abs=0.05)
    assert result.resamples == 1000
    assert 0 <= result.low <= result.value == 0.75 <= result.high == 1


def test_a_metric_that_is_never_defined_has_no_interval():
    result = interval("binary", [1, 1, 1], [[0.2, 0.8]] * 3, range(3), "auroc", 50, seed=0)
    assert (result.value, result.low, result.high, result.undefined) == (None, None, None, 50)


def test_coverage_is_near_nominal_and_the_interval_does_not_shrink_with_resamples():
    # Accuracy of independent samples, right with probability 0.8; 200 test sets.
    generator = np.random.default_rng(8)
    covered, trap_covered = 0, 0
    for trial in range(200):
        right = generator.random(100) < 0.8
        probabilities = np.where(right[:, None], [[0.1, 0.9]], [[0.9, 0.1]])
        values = bootstrap(
            "binary", np.ones(100, int), probabilities, range(100), "accuracy", 300, seed=trial
        )
        low, high = percentile_interval(values, 0.95)
        covered += low <= 0.8 <= high
        # The trap: a standard error of the bootstrap mean, which says how many rounds were run.
        trap_covered += abs(values.mean() - 0.8) <= 1.96 * values.std() / np.sqrt(300)
    assert 0.89 <= covered / 200 <= 0.99
    assert trap_covered / 200 < 0.3


def test_two_models_share_resamples():
    generator = np.random.default_rng(9)
    labels, positive = generator.integers(2, size=60), generator.random(60)
    probabilities = np.column_stack([1 - positive, positive])
    first = bootstrap("binary", labels, probabilities, range(60), "auroc", 30, seed=0)
    # A monotone change of the probabilities keeps every AUROC, so every paired difference is 0.
    second = bootstrap(
        "binary", labels, np.column_stack([1 - positive**2, positive**2]), range(60), "auroc", 30, seed=0
    )
    np.testing.assert_array_equal(first, second)


def test_malformed_arguments_are_refused():
    probabilities = [[0.2, 0.8]] * 3
    with pytest.raises(ValueError, match="patients: expected one id for each of 3"):
        interval("binary", [0, 1, 1], probabilities, range(4), "auroc", 10, seed=0)
    with pytest.raises(ValueError, match="0 resamples"):
        interval("binary", [0, 1, 1], probabilities, range(3), "auroc", 0, seed=0)
    with pytest.raises(ValueError, match="level"):
        interval("binary", [0, 1, 1], probabilities, range(3), "auroc", 10, seed=0, level=95)
