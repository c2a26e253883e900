"""CKA's interval over patients against plain leave-one-out and simulations of known truth."""

import numpy as np
import pytest
from scipy import stats

from imssl.cka import cka
from imssl.cka_interval import patient_interval

WIDTHS, SHARED = (20, 24), 5
MAPS = [np.random.default_rng(0).normal(size=(SHARED, width)) for width in WIDTHS]


def features(patients, images, alike, strength, generator):
    """Two sets of features of images that share a part with each other and with their patient's others."""

    def normal(width):
        own, common = (generator.normal(size=(patients, n, width)) for n in (images, 1))
        return (np.sqrt(alike) * common + np.sqrt(1 - alike) * own).reshape(-1, width)

    shared = normal(SHARED)
    other = strength * shared + np.sqrt(1 - strength**2) * normal(SHARED)
    x, y = shared @ MAPS[0] + 2 * normal(WIDTHS[0]), other @ MAPS[1] + 2 * normal(WIDTHS[1])
    return x, y, np.repeat(np.arange(patients), images)


def truth(strength):
    """Linear CKA of infinitely many patients: of the covariances."""
    (a, b) = MAPS
    own = [m.T @ m + 4 * np.eye(m.shape[1]) for m in MAPS]
    cross = strength * a.T @ b
    return (cross**2).sum() / np.sqrt((own[0] ** 2).sum() * (own[1] ** 2).sum())


def coverage(patients, images, alike, strength, runs, seed=1):
    generator = np.random.default_rng(seed)
    true, inside, estimates = truth(strength), [], []
    for _ in range(runs):
        found = patient_interval(*features(patients, images, alike, strength, generator))
        inside.append(found.low <= true <= found.high)
        estimates.append(found.estimate)
    return np.mean(inside), np.mean(estimates) - true


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_it_equals_leaving_out_each_patient_by_hand(kernel):
    x, y, _ = features(12, 4, 0.5, 0.8, np.random.default_rng(3))
    patients = np.random.default_rng(4).choice(list("abcdefgh"), size=48)
    found = patient_interval(x, y, patients, kernel, bandwidth=1.0, level=0.9)
    names = np.unique(patients)
    if kernel == "linear":
        left_out = [cka(x[patients != name], y[patients != name]) for name in names]
    else:  # with the bandwidth of all images: scaled such that the median distance stays what it was
        left_out = [rbf_without(x, y, patients != name) for name in names]
    mean, count = np.mean(left_out), len(names)
    error = np.sqrt((count - 1) / count * ((left_out - mean) ** 2).sum())
    estimate = count * cka(x, y, kernel) - (count - 1) * mean
    assert found.left_out == pytest.approx(np.array(left_out), rel=1e-8)
    assert found.standard_error == pytest.approx(error, rel=1e-8)
    assert found.estimate == pytest.approx(estimate, rel=1e-8)
    half = stats.t.ppf(0.95, count - 1) * error / (1 - estimate**2)
    assert np.arctanh([found.low, found.high]) == pytest.approx(
        np.arctanh(estimate) + np.array([-half, half])
    )
    assert found.patients == count


def rbf_without(x, y, kept):
    def gram(z):
        squares = ((z[:, None] - z) ** 2).sum(axis=2)
        return np.exp(-squares / (2 * np.median(squares[np.triu_indices(len(z), 1)])))[np.ix_(kept, kept)]

    def hsic(k, l):  # noqa: E741
        n, one = len(k), np.ones(len(k))
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
        return (
            np.trace(k @ l)
            + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ k @ l @ one)
        )

    k, l = gram(x), gram(y)  # noqa: E741
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def test_images_of_one_patient_do_not_count_as_independent():
    x, y, patients = features(15, 6, 0.9, 0.8, np.random.default_rng(0))
    wide, narrow = (patient_interval(x, y, of) for of in (patients, np.arange(len(patients))))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_it_covers_what_it_should():
    share, _ = coverage(patients=25, images=3, alike=0.5, strength=0.8, runs=120)
    assert 0.88 <= share <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patients", "images", "alike", "strength"),
    [(20, 1, 0, 1.0), (20, 3, 0.5, 0.6), (60, 4, 0.7, 1.0), (60, 4, 0.7, 0.0), (60, 1, 0, 0.6)],
)
def test_it_covers_the_truth_in_all_settings(patients, images, alike, strength):
    share, bias = coverage(patients, images, alike, strength, runs=200)
    # 200 runs at .95 have a standard deviation of .015.
    assert 0.91 <= share <= 1.0
    assert abs(bias) < 0.05


def test_equal_features_have_an_interval_of_no_width():
    x, _, patients = features(10, 2, 0.5, 1.0, np.random.default_rng(0))
    found = patient_interval(x, 3 * x + 1, patients)
    assert (found.low, found.high) == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))


@pytest.mark.parametrize(
    ("patients", "named"),
    [([0] * 6 + [1] * 6, "too few patients: 2"), ([0] * 9 + [1, 2, 3], "too few"), ([0] * 11, "same images")],
)
def test_too_few_patients_are_refused(patients, named):
    x = np.random.default_rng(0).normal(size=(12, 3))
    with pytest.raises(ValueError, match=named):
        patient_interval(x, x + 1, patients)
