"""Sets of labels that a model may use: seeded, spread over the classes, and nested in one another."""

from dataclasses import dataclass

import numpy as np

from imssl.datasets.prepared import Prepared
from imssl.errors import UserError
from imssl.seeds import derived_seed
from imssl.settings.labels import LabelSet, ValidationLabels

# Of a share: an epoch or a strength that two or three images choose is chosen at random.
LEAST_VALIDATION_LABELS = 10


@dataclass(frozen=True)
class LabelledRows:
    """Rows of a data set whose labels a model may use; both count towards the budget of labels.

    Attributes:
        training: (n,) ascending int64 rows to fit on.
        validation: (m,) ascending int64 rows by which the epoch or the strength is chosen.
    """

    training: np.ndarray
    validation: np.ndarray


def draw_labels(
    prepared: Prepared, label_set: LabelSet, seed: int, validation_labels: ValidationLabels = "same share"
) -> LabelledRows:
    """The rows whose labels a run may use; a seed draws the same ones for every method.

    With ``same share`` the validation labels are drawn as the training labels are. A fraction takes that
    share of the validation images, at the least ten (or all, where there are fewer), and the few that show
    every class present and absent: with fewer the metric by which the choice is made would be undefined, or
    chance. k per class takes k * N_val / N_train validation images of each class, rounded, at least 1: who
    asks for k shots wants no more.

    Args:
        prepared: data set.
        label_set: how many labels.
        seed: of the run.
        validation_labels: ``same share`` of the validation images, or ``all`` of them whatever the set.

    Raises:
        UserError: see :func:`label_subset` and :func:`labels_per_class`.
    """
    train, validation = prepared.indices("train"), prepared.indices("val")
    labels, dataset = prepared.labels(), prepared.card.name
    training = train[_rows(labels[train], label_set, derived_seed(seed, "label subset", dataset))]
    if validation_labels == "all" or len(validation) == 0:
        return LabelledRows(training, validation)
    if label_set.per_class is not None:
        scaled = round(label_set.per_class * len(validation) / len(train))
        label_set = LabelSet(per_class=max(1, scaled))
    purpose = derived_seed(seed, "validation label subset", dataset)
    drawn = _rows(labels[validation], label_set, purpose, LEAST_VALIDATION_LABELS)
    return LabelledRows(training, validation[drawn])


def label_subset(labels: np.ndarray, fraction: float, seed: int, least: int = 1) -> np.ndarray:
    """A share of some rows.

    One seeded ordering serves all fractions and a fraction takes a prefix of it, so that smaller subsets lie
    inside larger ones. Every combination of labels (class, for single labels) is spread evenly over the
    ordering, so that a prefix holds its share of it to within one; combinations too rare for a share fall at
    random. The ordering begins with the few rows that show every class at least once present and once
    absent, where there are such rows: in a small subset the rare classes are more frequent than in the whole.

    Args:
        labels: (N, C) of 0 and 1, or (N,) class indices.
        fraction: of the rows, in (0, 1].
        seed: of the ordering.
        least: rows, as far as there are so many.

    Returns:
        Ascending int64 rows, max(round(fraction * N), least, rows needed to show every class) of them.

    Raises:
        UserError: the fraction is not in (0, 1], or there are no rows.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"A label fraction of {fraction:g} is not in (0, 1]. Use for example 0.01 for 1%.")
    if len(labels) == 0:
        raise UserError("There are no training rows to draw labels from.")
    ordering = _spread(labels, np.random.default_rng(seed))
    needed = _showing_every_class(labels, ordering, times=1)
    rest = ordering[~np.isin(ordering, needed)]
    size = max(round(fraction * len(labels)), len(needed), least)
    return np.sort(np.concatenate([needed, rest])[:size])


def labels_per_class(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """k-shot: some rows of each class, as far as there are so many.

    For single labels k rows of each class. For several labels at a time at least k rows with each label and
    at least k without it: in rounds 1 to k, the rarest first, each label with fewer rows than the round's
    number gets the next row of the seeded ordering that has it. A row counts for all of its labels, so
    labels that go together have more than k rows. Each round adds to the one before it, so that smaller k
    lie inside larger ones.

    Args:
        labels: (N, C) of 0 and 1, or (N,) class indices.
        per_class: k, at least 1.
        seed: of the ordering.

    Returns:
        Ascending int64 rows.

    Raises:
        UserError: k is below 1, or there are no rows.
    """
    if per_class < 1:
        raise UserError(f"{per_class} labels per class are none. Use a whole number from 1.")
    if len(labels) == 0:
        raise UserError("There are no training rows to draw labels from.")
    ordering = _spread(labels, np.random.default_rng(seed))
    return np.sort(_showing_every_class(labels, ordering, times=per_class))


def _rows(labels: np.ndarray, label_set: LabelSet, seed: int, least: int = 1) -> np.ndarray:
    if label_set.per_class is not None:
        return labels_per_class(labels, label_set.per_class, seed)
    return label_subset(labels, label_set.fraction or 0.0, seed, least)


def _spread(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """All rows, ordered so that each combination of labels is spread evenly: (N,) int64.

    The j-th of n rows of a combination lies at (j + u) / n, with one uniform u for each: any stretch of
    length t then holds t * n of them, rounded up or down (systematic sampling).
    """
    _, stratum, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    shuffled = generator.permutation(len(labels))
    grouped = shuffled[np.argsort(stratum.reshape(-1)[shuffled], kind="stable")]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    offset = np.repeat(generator.random(len(counts)), counts)
    return grouped[np.argsort((rank + offset) / np.repeat(counts, counts), kind="stable")]


def _showing_every_class(labels: np.ndarray, ordering: np.ndarray, times: int) -> np.ndarray:
    """Few rows that show every class so many times, the first of the ordering that do; rarest class first.

    A row with several labels shows each of them present or absent. Of single labels it is enough to show
    each present: it is then absent in the rows of the others.
    """
    classes = np.unique(labels)
    present = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == classes
    shows = np.concatenate([present, ~present], axis=1) if labels.ndim == 2 else present
    ordered = shows[ordering]
    available = shows.sum(axis=0)
    shown = np.zeros(shows.shape[1], dtype=np.int64)
    taken = np.zeros(len(labels), dtype=bool)
    chosen: list[int] = []
    for number in range(1, times + 1):
        for column in np.argsort(available, kind="stable"):
            if shown[column] < min(number, available[column]):
                position = int((ordered[:, column] & ~taken).argmax())
                taken[position] = True
                shown += ordered[position]
                chosen.append(int(ordering[position]))
    return np.array(chosen, dtype=np.int64)
