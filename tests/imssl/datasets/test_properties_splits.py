"""Splits and label subsets of any labels and patients: complete, seeded, nested, no patient torn apart."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imssl.datasets.label_sets import label_subset
from imssl.datasets.source import SPLITS
from imssl.datasets.splits import assign_splits, draw_validation

SEEDS = st.integers(0, 2**31 - 1)
FRACTIONS = st.floats(1e-6, 1, exclude_min=False)


@st.composite
def labelled(draw, smallest=1):
    """Labels (N,) or (N, C), their task, and a patient for each."""
    n = draw(st.integers(smallest, 60))
    task = draw(st.sampled_from(["binary", "multiclass", "ordinal", "multilabel"]))
    if task == "multilabel":
        rows = draw(st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=n, max_size=n))
    else:
        rows = draw(st.lists(st.integers(0, 1 if task == "binary" else 4), min_size=n, max_size=n))
    patients = draw(st.lists(st.text(max_size=2), min_size=n, max_size=n))
    return np.array(rows), task, patients


@settings(max_examples=80, deadline=None)
@given(labelled(), FRACTIONS, FRACTIONS, SEEDS)
def test_label_subsets(drawn, one, other, seed):
    labels, _, _ = drawn
    small, large = (label_subset(labels, fraction, seed) for fraction in sorted((one, other)))
    for rows, fraction in ((small, min(one, other)), (large, max(one, other))):
        assert np.all(np.diff(rows) > 0)  # ascending, and none twice
        assert rows.min() >= 0
        assert rows.max() < len(labels)
        assert len(rows) >= max(1, round(fraction * len(labels)))
        assert np.array_equal(rows, label_subset(labels, fraction, seed))
        columns = labels if labels.ndim == 2 else labels[:, None] == np.unique(labels)
        assert np.array_equal(columns[rows].any(axis=0), columns.any(axis=0))
    assert set(small) <= set(large)
    assert np.array_equal(label_subset(labels, 1.0, seed), np.arange(len(labels)))


@settings(max_examples=80, deadline=None)
@given(labelled(), SEEDS, st.randoms(use_true_random=False))
def test_splits_by_patient(drawn, seed, random):
    labels, task, patients = drawn
    if len(set(patients)) < 3:
        return
    splits = assign_splits(patients, labels, task, seed)
    assert set(splits) == set(SPLITS)
    for patient in set(patients):
        assert len({split for split, other in zip(splits, patients, strict=True) if other == patient}) == 1
    counts = {
        split: len({p for p, s in zip(patients, splits, strict=True) if s == split}) for split in SPLITS
    }
    total = len(set(patients))
    for split, fraction in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        assert counts[split] >= 1
        assert abs(counts[split] - fraction * total) <= 2
    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = assign_splits([patients[i] for i in order], labels[order], task, seed)
    assert list(shuffled) == [splits[i] for i in order]


@settings(max_examples=100, deadline=None)
@given(labelled(smallest=2), SEEDS)
def test_validation_by_patient(drawn, seed):
    labels, task, patients = drawn
    if len(set(patients)) < 2:
        return
    splits = draw_validation(patients, labels, task, seed)
    assert set(splits) == {"train", "val"}
    train, validation = (
        {p for p, s in zip(patients, splits, strict=True) if s == n} for n in ("train", "val")
    )
    assert not train & validation
