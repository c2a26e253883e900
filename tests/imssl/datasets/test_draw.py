"""Draws that are spread over patients."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imssl.datasets.draw import draw_rows, spread_over_patients

quick = settings(max_examples=100, deadline=None, derandomize=True)


def drawn(patients, count, seed):
    return spread_over_patients(np.array(patients), count, np.random.default_rng(seed))


@quick
@given(st.lists(st.integers(0, 12), min_size=1, max_size=80), st.integers(1, 90), st.integers(0, 100))
def test_every_patient_before_any_patient_twice(numbers, count, seed):
    patients = [f"p{number}" for number in numbers]
    positions = drawn(patients, count, seed)
    assert len(set(positions)) == len(positions) == min(count, len(patients))
    assert (np.diff(positions) > 0).all()
    took, have = Counter(patients[i] for i in positions), Counter(patients)
    most = max(took.values())
    # Whoever gave fewer than the most, less one, had no more to give.
    assert all(took[patient] >= min(have[patient], most - 1) for patient in have)


@quick
@given(st.lists(st.integers(0, 5), min_size=1, max_size=50), st.integers(1, 50), st.integers(0, 100))
def test_a_larger_draw_adds_to_a_smaller_one(patients, count, seed):
    assert set(drawn(patients, count, seed)) <= set(drawn(patients, count + 3, seed))


def test_patients_and_their_samples_are_drawn_alike():
    """30 patients of 2 to 6 samples, 10 drawn: each patient as often, and each of its samples as often."""
    sizes = 2 + np.arange(30) % 5
    patients = np.repeat(np.arange(30), sizes)
    counts = np.zeros(len(patients))
    for seed in range(3000):
        counts[drawn(patients, 10, seed)] += 1
    expected = np.repeat(10 / 30 / sizes, sizes)
    # Four standard deviations of 3,000 draws.
    np.testing.assert_allclose(counts / 3000, expected, atol=4 * np.sqrt(0.17 * 0.83 / 3000))


def test_sorted_ids_do_not_decide(fundus):
    """Two patients had the first rows of a real test set; here as many patients as rows are asked for."""
    rows = fundus.indices("train")
    patients = fundus.patients()
    count = len(set(patients[rows]))
    assert len(set(patients[rows[:count]])) < count
    some = draw_rows(fundus, rows, count, np.random.default_rng(0))
    assert len(set(patients[some])) == len(some) == count
    assert set(some) <= set(rows)
    again, other = (draw_rows(fundus, rows, count, np.random.default_rng(seed)) for seed in (0, 1))
    assert again.tolist() == some.tolist() != other.tolist()


def test_few_rows_are_all_taken(fundus):
    rows = fundus.indices("val")
    assert draw_rows(fundus, rows, len(rows) + 5, np.random.default_rng(0)).tolist() == rows.tolist()
