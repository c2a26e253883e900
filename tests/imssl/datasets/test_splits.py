import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imssl.datasets.splits import assign_splits, draw_validation
from imssl.errors import UserError

quick = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def data_sets(draw):
    seed = draw(st.integers(0, 10_000))
    task = draw(st.sampled_from(["multilabel", "binary", "multiclass", "ordinal"]))
    generator = np.random.default_rng(seed)
    patients = draw(st.integers(3, 60))
    images = generator.integers(1, draw(st.integers(2, 9)), patients)
    names = np.repeat([f"p{i}" for i in range(patients)], images)
    if task == "multilabel":
        labels = (generator.random((len(names), 5)) < [0.5, 0.2, 0.1, 0.02, 0.0]).astype(int)
    else:
        labels = generator.integers(0, 2 if task == "binary" else 5, len(names))
    return names, labels, task, seed


def patients_in(names, splits, split):
    return set(names[splits == split])


@quick
@given(data_sets())
def test_no_patient_crosses_and_sizes_are_near_the_fractions(data):
    names, labels, task, seed = data
    splits = assign_splits(names, labels, task, seed)
    parts = [patients_in(names, splits, split) for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set(names))
    for part, fraction in zip(parts, (0.7, 0.1, 0.2), strict=True):
        # Two more than rounding, as no split may be empty.
        assert part
        assert abs(len(part) - fraction * len(set(names))) < 2


@quick
@given(data_sets(), st.integers(0, 1000))
def test_the_order_of_the_samples_does_not_matter(data, order):
    names, labels, task, seed = data
    shuffle = np.random.default_rng(order).permutation(len(names))
    splits = assign_splits(names, labels, task, seed)
    np.testing.assert_array_equal(assign_splits(names[shuffle], labels[shuffle], task, seed), splits[shuffle])


def test_every_stratum_gets_its_share():
    severity = np.repeat([0, 1, 2, 3, 4], [500, 200, 150, 100, 50])
    names = np.array([f"p{i}" for i in range(1000)])
    splits = assign_splits(names, severity, "ordinal", 0)
    for grade in range(5):
        share = [np.mean(splits[severity == grade] == split) for split in ("train", "val", "test")]
        np.testing.assert_allclose(share, [0.7, 0.1, 0.2], atol=0.03)


def test_patients_are_stratified_by_their_most_severe_image():
    # Each patient has an image of grade 0 and one of its own grade.
    own = np.repeat([1, 4], [80, 20])
    names = np.repeat([f"p{i}" for i in range(100)], 2)
    labels = np.stack([np.zeros(100, dtype=int), own], axis=1).ravel()
    splits = assign_splits(names, labels, "ordinal", 3)[::2]
    assert [int(np.sum((own == 4) & (splits == split))) for split in ("train", "val", "test")] == [14, 2, 4]


def test_patients_are_stratified_by_their_rarest_label():
    labels = np.zeros((200, 3), dtype=int)
    labels[:, 0] = 1
    labels[:20, 2] = 1
    splits = assign_splits(np.arange(200).astype(str), labels, "multilabel", 0)
    assert [int(labels[splits == split, 2].sum()) for split in ("train", "val", "test")] == [14, 2, 4]


def test_the_seed_decides():
    names, labels = np.arange(100).astype(str), np.arange(100) % 2
    first, again, other = (assign_splits(names, labels, "binary", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@quick
@given(data_sets())
def test_validation_is_drawn_from_training_by_patient(data):
    names, labels, task, seed = data
    splits = draw_validation(names, labels, task, seed)
    train, val = (patients_in(names, splits, split) for split in ("train", "val"))
    assert not train & val
    assert abs(len(val) - len(set(names)) / 8) <= 1
    assert len(val) >= 1
    assert set(splits) == {"train", "val"}


def test_too_few_patients_are_refused():
    with pytest.raises(UserError, match="there are only 2"):
        assign_splits(["a", "a", "b"], np.array([0, 1, 0]), "binary", 0)
    with pytest.raises(ValueError, match="sum to 1"):
        assign_splits(["a", "b", "c"], np.array([0, 1, 0]), "binary", 0, (0.7, 0.1, 0.1))
