"""Small labelled subsets of a training set: seeded, stratified, and nested in one another."""

import numpy as np

from imssl.datasets.prepared import Prepared
from imssl.errors import UserError
from imssl.seeds import derived_seed


def labelled_rows(prepared: Prepared, fraction: float, seed: int) -> np.ndarray:
    """Rows of the training images whose labels a run may use; the same for every method.

    Args:
        prepared: data set.
        fraction: of the training images, in (0, 1].
        seed: of the run.

    Returns:
        (n,) int64 rows of samples.csv.

    Raises:
        UserError: as :func:`label_subset`.
    """
    train = prepared.indices("train")
    subset_seed = derived_seed(seed, "label subset", prepared.card.name)
    return train[label_subset(prepared.labels()[train], fraction, subset_seed)]


def label_subset(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Rows of a training set whose labels may be used.

    One seeded ordering serves all fractions and a fraction takes a prefix of it, so that smaller subsets lie
    inside larger ones. Every label set (class, for single labels) is spread evenly over the ordering, so that
    a prefix holds its share of it to within one; sets too rare for a share fall at random. The ordering
    begins with the few rows that show every class at least once present and once absent, where the training
    set has such rows.

    Args:
        labels: (N, C) of 0 and 1, or (N,) class indices.
        fraction: of the rows, in (0, 1].
        seed: of the ordering.

    Returns:
        Ascending int64 rows, max(round(fraction * N), rows needed to show every class) of them.

    Raises:
        UserError: the fraction is not in (0, 1], or there are no rows.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"A label fraction of {fraction:g} is not in (0, 1]. Use for example 0.01 for 1%.")
    if len(labels) == 0:
        raise UserError("There are no training rows to draw labels from.")
    ordering = _spread(labels, np.random.default_rng(seed))
    needed = _showing_every_class(labels, ordering)
    rest = ordering[~np.isin(ordering, needed)]
    size = max(round(fraction * len(labels)), len(needed), 1)
    return np.sort(np.concatenate([needed, rest])[:size])


def _spread(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """All rows, ordered so that each label set is spread evenly: (N,) int64.

    The j-th of n rows of a set lies at (j + u) / n, with one uniform u for each set: any stretch of length t
    then holds t * n of them, rounded up or down (systematic sampling).
    """
    _, stratum, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    shuffled = generator.permutation(len(labels))
    grouped = shuffled[np.argsort(stratum.reshape(-1)[shuffled], kind="stable")]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    offset = np.repeat(generator.random(len(counts)), counts)
    return grouped[np.argsort((rank + offset) / np.repeat(counts, counts), kind="stable")]


def _showing_every_class(labels: np.ndarray, ordering: np.ndarray) -> np.ndarray:
    """Few rows that show every class present and absent, the first of the ordering that do; rarest first."""
    classes = np.unique(labels)
    present = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == classes
    shows = np.concatenate([present, ~present], axis=1)
    chosen: list[int] = []
    for column in np.argsort(shows.sum(axis=0), kind="stable"):
        if shows[:, column].any() and not shows[chosen, column].any():
            chosen.append(int(ordering[shows[ordering, column].argmax()]))
    return np.array(chosen, dtype=np.int64)
