import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imssl.datasets.fractions import label_subset
from imssl.errors import UserError

quick = settings(max_examples=80, deadline=None, derandomize=True)


@st.composite
def label_arrays(draw):
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    count = draw(st.integers(1, 300))
    if draw(st.booleans()):
        rates = generator.random(draw(st.integers(1, 6))) ** 3
        return (generator.random((count, len(rates))) < rates).astype(np.uint8)
    return generator.choice(draw(st.integers(1, 6)), count).astype(np.int64)


def values_shown(labels):
    """Every (class, present or absent) that some row shows, by a plain loop."""
    columns = labels if labels.ndim == 2 else np.stack([labels == c for c in np.unique(labels)], axis=1)
    return {(c, bool(value)) for c in range(columns.shape[1]) for value in columns[:, c]}


fractions = st.floats(0.001, 1.0)


@quick
@given(label_arrays(), fractions, fractions, st.integers(0, 100))
def test_subsets_are_nested_distinct_and_of_the_right_size(labels, a, b, seed):
    small, large = (label_subset(labels, fraction, seed) for fraction in sorted((a, b)))
    assert set(small) <= set(large)
    assert len(set(small)) == len(small)
    assert (np.diff(small) > 0).all()
    needed = 2 * (labels.shape[1] if labels.ndim == 2 else len(np.unique(labels)))
    wanted = round(min(a, b) * len(labels))
    assert max(1, wanted) <= len(small) <= max(1, wanted, min(needed, len(labels)))
    np.testing.assert_array_equal(label_subset(labels, 1.0, seed), np.arange(len(labels)))


@quick
@given(label_arrays(), fractions, st.integers(0, 100))
def test_every_class_is_shown_present_and_absent(labels, fraction, seed):
    if labels.ndim == 2:
        chosen = labels[label_subset(labels, fraction, seed)]
        assert values_shown(chosen) == values_shown(labels)
    else:
        chosen = labels[label_subset(labels, fraction, seed)]
        assert set(chosen) == set(labels)


@quick
@given(st.lists(st.integers(5, 200), min_size=2, max_size=5), fractions, st.integers(0, 100))
def test_classes_keep_their_share(counts, fraction, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    subset = label_subset(labels, fraction, seed)
    found = np.bincount(labels[subset], minlength=len(counts))
    expected = np.array(counts) * len(subset) / len(labels)
    # Systematic sampling is within one; the rows that show each class add at most one more each.
    assert np.abs(found - expected).max() <= 1 + len(counts)


def test_label_sets_keep_their_share():
    labels = np.repeat([[0, 0], [1, 0], [1, 1]], [600, 300, 100], axis=0)
    chosen = labels[label_subset(labels, 0.1, 0)]
    np.testing.assert_allclose(chosen.mean(axis=0), [0.4, 0.1], atol=0.02)


def test_rows_of_a_class_are_drawn_at_random():
    labels = np.repeat([0, 1], [90, 10])
    drawn = np.concatenate([label_subset(labels, 0.1, seed) for seed in range(2000)])
    frequency = np.bincount(drawn, minlength=100) / 2000
    # 9 of 90 and about 1 of 10; three standard deviations of 2000 draws are 0.02.
    np.testing.assert_allclose(frequency, 0.1, atol=0.03)


def test_the_seed_decides_and_global_random_state_is_left_alone():
    labels = np.arange(500) % 3
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert label_subset(labels, 0.1, 0).tolist() == label_subset(labels, 0.1, 0).tolist()
    assert label_subset(labels, 0.1, 0).tolist() != label_subset(labels, 0.1, 1).tolist()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_one_percent_of_571_holds_distinct_rows():
    # The released code of the method drew 571 rows with repeats here and was left with half of them.
    labels = (np.random.default_rng(0).random(57_146) < 0.28).astype(int)
    assert len(set(label_subset(labels, 0.01, 0))) == 571


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_fractions_outside_the_range_are_refused(fraction):
    with pytest.raises(UserError, match=r"not in \(0, 1\]"):
        label_subset(np.array([0, 1]), fraction, 0)


def test_no_rows_are_refused():
    with pytest.raises(UserError, match="no training rows"):
        label_subset(np.array([], dtype=int), 0.5, 0)
