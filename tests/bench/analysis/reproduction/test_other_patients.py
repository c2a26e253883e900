"""Intervals of CKA and KS effects over patients, against plain formulas and a simulation of known truth."""

import numpy as np
import pytest
from scipy import stats

from bench.analysis.reproduction.other_patients import (
    contrast_left_out,
    covered_words,
    jackknife_variance,
    ks_draws,
    ks_of_counts,
)
from bench.summary.bootstrap import bootstrap_seed, resample_counts
from imssl.cka import cka
from imssl.cka_interval import patient_interval
from tests.bench.made_up_results import binary_predictions
from tests.simulations.feature_reuse import coverage

PATIENTS = np.repeat([f"p{i}" for i in range(9)], 3)


def test_the_contrast_is_that_of_leaving_out_each_patient_by_hand():
    """Two seeds, two shares and four blocks, averaged as the claim averages them."""
    generator = np.random.default_rng(0)
    names, shares = np.unique(PATIENTS), ("0.1", "1")
    weights = {1: 0.5, 2: 0.5, 3: -0.5, 4: -0.5}
    cells, by_hand = [], np.zeros(len(names))
    for _ in range(2):
        cell = {"patients": names}
        for share in shares:
            rows = []
            for block in range(1, 5):
                x = generator.normal(size=(27, 6))
                y = x + block * generator.normal(size=(27, 6))
                rows.append(patient_interval(x, y, PATIENTS).left_out)
                without = [cka(x[name != PATIENTS], y[name != PATIENTS]) for name in names]
                by_hand += weights[block] * np.array(without) / 4
            cell[share] = np.stack(rows)
        cells.append(cell)
    contrast = contrast_left_out(cells, shares, weights)
    assert contrast == pytest.approx(by_hand, abs=1e-10)
    variance = 8 / 9 * sum((value - by_hand.mean()) ** 2 for value in by_hand)
    assert jackknife_variance(contrast) == pytest.approx(variance)


def test_the_jackknife_of_a_mean_is_its_squared_standard_error():
    values = np.random.default_rng(1).normal(size=20)
    left_out = (values.sum() - values) / 19
    assert jackknife_variance(left_out) == pytest.approx(values.var(ddof=1) / 20)


def test_what_cells_lack_is_said():
    cell = {"patients": np.array(["a", "b", "c"]), "1": np.full((4, 3), 0.5)}
    weights = {1: 1.0}
    assert "before CKA without each patient was kept" in contrast_left_out([cell, None], ["1"], weights)
    other = cell | {"patients": np.array(["a", "b", "d"])}
    assert "other patients" in contrast_left_out([cell, other], ["1"], weights)
    undefined = cell | {"1": np.full((4, 3), np.nan)}
    assert contrast_left_out([undefined], ["1"], weights) == "too few patients"


def test_ks_distances_are_scipys_of_the_resampled_outputs():
    generator = np.random.default_rng(2)
    few, every = np.round(generator.random((2, 40, 3)), 1)  # with ties
    counts = generator.integers(0, 4, size=(30, 40)).astype(np.int32)
    found = ks_of_counts(few, every, counts)
    for distance, drawn in zip(found, counts, strict=True):
        of_classes = [
            stats.ks_2samp(*(np.repeat(side[:, c], drawn) for side in (few, every))).statistic
            for c in range(3)
        ]
        assert distance == pytest.approx(np.mean(of_classes), abs=1e-12)


def test_the_resamples_are_those_of_the_metrics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(3)
    labels, patients = np.arange(30) % 2, np.arange(30) // 3
    runs = [binary_predictions(generator.normal(size=30), labels, patients) for _ in range(4)]
    draws = ks_draws("chest", runs[:2], runs[2:], True, 20)
    (counts,) = resample_counts(runs[0].patients, 20, bootstrap_seed("chest"))
    pairs = [(runs[0], runs[2]), (runs[1], runs[3])]
    for drawn, found in zip(counts, draws, strict=True):
        distances = [
            stats.ks_2samp(*(np.repeat(run.probabilities[:, 1], drawn) for run in pair)).statistic
            for pair in pairs
        ]
        assert found == pytest.approx(np.mean(distances), abs=1e-12)


@pytest.mark.parametrize(
    ("reasons", "seeds", "words"),
    [
        ({"a": "", "b": ""}, 3, "test patients and seeds"),
        ({"a": ""}, 1, "test patients only"),
        ({"a": "old"}, 3, "seeds only (a: old)"),
        ({"a": "old", "b": ""}, 3, "test patients and seeds, on some data sets seeds only (a: old)"),
    ],
)
def test_what_an_interval_covers_is_named(reasons, seeds, words):
    assert covered_words(reasons, seeds) == words


def test_the_interval_of_a_difference_in_cka_covers_the_truth():
    """Seeds that hardly differ: seeds alone cover next to nothing."""
    both, seeds_only = coverage(patients=25, images=3, alike=0.3, seeds=3, deviation=0.01, trials=150)
    assert 0.90 <= both <= 1.0
    assert seeds_only < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("patients", [20, 60])
@pytest.mark.parametrize(("seeds", "deviation"), [(3, 0.01), (3, 0.05), (5, 0.05)])
def test_it_covers_the_truth_in_all_settings(patients, seeds, deviation):
    both, _ = coverage(patients, 3, 0.3, seeds, deviation, trials=300)
    assert 0.89 <= both <= 1.0
