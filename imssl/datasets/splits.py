"""Splits drawn by patient: no patient is in two of them."""

from collections.abc import Sequence

import numpy as np

from imssl.datasets.source import SPLITS, Task
from imssl.errors import UserError


def assign_splits(
    patients: Sequence[str] | np.ndarray,
    labels: np.ndarray,
    task: Task,
    seed: int,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
) -> np.ndarray:
    """Draw training, validation and test patients.

    The fractions are of patients, not of images. Patients are stratified by their rarest label (multilabel,
    multiclass) or their most severe class (binary, ordinal). The result depends only on ids, labels and seed,
    not on the order of the samples.

    Args:
        patients: (N,) patient of each sample.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        task: kind of the labels.
        seed: of the draw.
        fractions: of training, validation and test patients; they sum to 1.

    Returns:
        (N,) of ``train``, ``val`` and ``test``.

    Raises:
        UserError: there are fewer patients than splits.
    """
    return np.array(SPLITS)[_draw(patients, labels, task, seed, fractions)]


def draw_validation(
    patients: Sequence[str] | np.ndarray, labels: np.ndarray, task: Task, seed: int, fraction: float = 0.125
) -> np.ndarray:
    """Draw validation patients from an official training set, in the same way as `assign_splits`.

    Args:
        patients: (N,) patient of each official training sample.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        task: kind of the labels.
        seed: of the draw.
        fraction: of the patients that are drawn; 1/8 of 80% is the usual 10% of all.

    Returns:
        (N,) of ``train`` and ``val``.

    Raises:
        UserError: there is only one patient.
    """
    return np.array(SPLITS[:2])[_draw(patients, labels, task, seed, (1 - fraction, fraction))]


def _draw(
    patients: Sequence[str] | np.ndarray,
    labels: np.ndarray,
    task: Task,
    seed: int,
    fractions: Sequence[float],
) -> np.ndarray:
    """Split index of each sample, (N,) int64."""
    # As Python strings: NumPy's drop zero characters at the end, so that different ids could become equal.
    names, patient_of = np.unique(np.array([str(name) for name in patients], object), return_inverse=True)
    sizes = _sizes(len(names), fractions)
    strata = _strata(patient_of, labels, task, len(names))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    split_of = np.empty(len(names), dtype=np.int64)
    split_of[by_stratum] = _interleaved(sizes)
    return split_of[patient_of]


def _sizes(total: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers near the fractions of a total, at least one each (largest remainder)."""
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) <= 0:
        raise ValueError(f"split fractions {tuple(fractions)} must be positive and sum to 1")
    if total < len(fractions):
        raise UserError(
            f"{len(fractions)} splits need at least as many patients, but there are only {total}. "
            "Add images of other patients."
        )
    sizes = [max(1, int(total * fraction)) for fraction in fractions]
    while sum(sizes) != total:
        step = 1 if sum(sizes) < total else -1
        gaps = step * (total * np.array(fractions) - sizes)
        gaps[np.array(sizes) + step < 1] = -np.inf
        sizes[int(np.argmax(gaps))] += step
    return sizes


def _interleaved(sizes: list[int]) -> np.ndarray:
    """A sequence with exactly these numbers of 0, 1 and 2, each spread evenly over the whole length.

    Assigned to patients in the order of their strata, it gives every stratum its share of every split.
    """
    positions = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    return np.repeat(np.arange(len(sizes)), sizes)[np.argsort(positions, kind="stable")]


def _strata(patient_of: np.ndarray, labels: np.ndarray, task: Task, count: int) -> np.ndarray:
    """Stratum of each patient, (P,) int64: the patient's rarest label, or most severe class."""
    if task in ("binary", "ordinal"):
        severest = np.full(count, -1, dtype=np.int64)
        np.maximum.at(severest, patient_of, labels)
        return severest
    has = np.zeros((count, labels.shape[1] if task == "multilabel" else int(labels.max()) + 1), dtype=bool)
    if task == "multilabel":
        np.logical_or.at(has, patient_of, labels.astype(bool))
    else:
        has[patient_of, labels] = True
    rarest_first = np.argsort(has.sum(axis=0), kind="stable")
    first = has[:, rarest_first].argmax(axis=1)
    return np.where(has.any(axis=1), first, has.shape[1])
