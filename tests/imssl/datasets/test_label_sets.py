import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imssl.datasets.label_sets import draw_labels, label_subset, labels_per_class
from imssl.errors import UserError
from imssl.settings.labels import LabelSet

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


def shown(labels):
    """How many rows show each label present and absent, by a plain loop."""
    columns = labels if labels.ndim == 2 else np.stack([labels == c for c in np.unique(labels)], axis=1)
    present = np.array([sum(bool(value) for value in column) for column in columns.T])
    return present, len(columns) - present


@quick
@given(label_arrays(), st.integers(1, 12), st.integers(1, 12), st.integers(0, 100))
def test_k_shot_sets_are_nested_and_hold_k_of_each_class(labels, a, b, seed):
    few, many = sorted((a, b))
    small, large = (labels_per_class(labels, k, seed) for k in (few, many))
    assert set(small) <= set(large)
    assert (np.diff(small) > 0).all()
    (present, absent), (all_present, all_absent) = shown(labels[small]), shown(labels)
    if labels.ndim == 1:
        missing = set(labels) - set(labels[small])
        assert not missing
        assert present.tolist() == np.minimum(few, all_present).tolist()
    else:
        assert (present >= np.minimum(few, all_present)).all()
        assert (absent >= np.minimum(few, all_absent)).all()
        assert len(small) <= 2 * few * labels.shape[1]


def test_k_shot_rows_are_drawn_at_random():
    labels = np.repeat([0, 1], [40, 10])
    drawn = np.concatenate([labels_per_class(labels, 4, seed) for seed in range(2000)])
    frequency = np.bincount(drawn, minlength=50) / 2000
    np.testing.assert_allclose(frequency, np.repeat([4 / 40, 4 / 10], [40, 10]), atol=0.04)


def test_k_shot_needs_a_k_and_rows():
    with pytest.raises(UserError, match="0 labels per class"):
        labels_per_class(np.array([0, 1]), 0, 0)
    with pytest.raises(UserError, match="no training rows"):
        labels_per_class(np.array([], dtype=int), 1, 0)


def test_names_of_label_sets():
    shares = [LabelSet(fraction=f) for f in (0.001, 0.01, 0.125, 1.0)]
    assert [s.name for s in shares] == ["0.1%", "1%", "12.5%", "100%"]
    assert [s.folder for s in shares[1:3]] == ["fraction-0.01", "fraction-0.125"]
    assert [s.is_everything for s in shares] == [False, False, False, True]
    few = LabelSet(per_class=5)
    assert (few.name, few.folder, few.is_everything) == ("5 per class", "per-class-5", False)
    for wrong in ({}, {"fraction": 0.5, "per_class": 5}):
        with pytest.raises(ValueError, match="a fraction or a number per class"):
            LabelSet(**wrong)


@pytest.mark.parametrize("kind", ["chest", "histology", "fundus"])
def test_validation_labels_scale_with_the_training_labels(phantom, kind):
    prepared = phantom(kind)
    train, validation, labels = prepared.indices("train"), prepared.indices("val"), prepared.labels()
    for label_set in (LabelSet(fraction=0.05), LabelSet(fraction=0.4), LabelSet(per_class=8)):
        scaled = draw_labels(prepared, label_set, seed=3)
        everything = draw_labels(prepared, label_set, seed=3, validation_labels="all")
        assert np.array_equal(scaled.training, everything.training)
        assert set(scaled.training) <= set(train)
        assert np.array_equal(everything.validation, validation)
        assert set(scaled.validation) < set(validation)
        # The metric that chooses must be defined for every class.
        assert values_shown(labels[scaled.validation]) == values_shown(labels[validation])
    most = draw_labels(prepared, LabelSet(fraction=0.8), seed=3)
    assert len(most.validation) == pytest.approx(0.8 * len(validation), abs=1)
    full = draw_labels(prepared, LabelSet(fraction=1.0), seed=3)
    assert np.array_equal(full.training, train)
    assert np.array_equal(full.validation, validation)


@pytest.mark.parametrize(("kind", "shots"), [("histology", 2), ("fundus", 5)])
def test_no_share_is_chosen_by_fewer_than_ten_validation_images(phantom, kind, shots):
    prepared = phantom(kind)
    validation = prepared.indices("val")
    assert len(validation) > 10
    assert len(draw_labels(prepared, LabelSet(fraction=0.01), seed=0).validation) == 10
    # Who asks for one label of a class gets no more.
    assert len(draw_labels(prepared, LabelSet(per_class=1), seed=0).validation) == shots


def test_label_sets_are_nested_in_training_and_validation(fundus):
    for sets in (
        [LabelSet(fraction=f) for f in (0.01, 0.1, 0.5, 1.0)],
        [LabelSet(per_class=k) for k in (1, 5, 20, 1000)],
    ):
        drawn = [draw_labels(fundus, label_set, seed=1) for label_set in sets]
        for small, large in itertools.pairwise(drawn):
            assert set(small.training) <= set(large.training)
            assert set(small.validation) <= set(large.validation)
    assert len(drawn[-1].training) == len(fundus.indices("train"))


def test_a_small_set_shows_every_grade_and_so_is_more_than_its_share(fundus):
    labelled = draw_labels(fundus, LabelSet(fraction=0.01), seed=0)
    train = fundus.indices("train")
    assert round(0.01 * len(train)) < len(labelled.training) == 5
    assert len(np.unique(fundus.labels()[labelled.training])) == 5


def test_k_labels_of_several_classes_are_k_of_each_at_least(chest):
    labelled = draw_labels(chest, LabelSet(per_class=3), seed=0)
    assert chest.samples.iloc[labelled.training][chest.card.classes].sum().min() >= 3
