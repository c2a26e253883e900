"""Splits drawn by patient: no patient is in two of them."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from imssl.datasets.source import SPLITS
from imssl.errors import UserError
from imssl.task import Task


def assign_splits(
    patients: Sequence[str] | np.ndarray,
    labels: np.ndarray,
    task: Task,
    seed: int,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    unit: str = "patients",
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
        unit: what ``patients`` holds, for the error.

    Returns:
        (N,) of ``train``, ``val`` and ``test``.

    Raises:
        UserError: there are fewer patients than splits.
    """
    return np.array(SPLITS)[_draw(patients, labels, task, seed, fractions, unit)]


def draw_validation(
    patients: Sequence[str] | np.ndarray,
    labels: np.ndarray,
    task: Task,
    seed: int,
    fraction: float = 0.125,
    unit: str = "patients",
) -> np.ndarray:
    """Draw validation patients from an official training set, in the same way as `assign_splits`.

    Args:
        patients: (N,) patient of each official training sample.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        task: kind of the labels.
        seed: of the draw.
        fraction: of the patients that are drawn; 1/8 of 80% is the usual 10% of all.
        unit: what ``patients`` holds, for the error.

    Returns:
        (N,) of ``train`` and ``val``.

    Raises:
        UserError: there is only one patient.
    """
    return np.array(SPLITS[:2])[_draw(patients, labels, task, seed, (1 - fraction, fraction), unit)]


def joined_groups(patients: Sequence[str], others: Sequence[str]) -> list[str]:
    """Groups such that neither a patient nor another group, for example a site, is in two of them.

    Where a patient has images in two sites, the two sites become one group.

    Args:
        patients: (N,) patient of each sample.
        others: (N,) what else stays together; samples with an empty text go by their patient alone.

    Returns:
        (N,) a name of each sample's group: the first of the patients in it, in alphabetical order.
    """
    if not any(others):
        return list(patients)
    patient_names, patient_of = np.unique(np.array(patients, object), return_inverse=True)
    other_names, other_of = np.unique(np.array(others, object), return_inverse=True)
    links = np.array([other != "" for other in others])
    size = len(patient_names) + len(other_names)
    edges = (np.ones(links.sum(), dtype=bool), (patient_of[links], len(patient_names) + other_of[links]))
    _, group_of = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    first: dict[int, str] = {}
    for patient, group in zip(patient_names, group_of, strict=False):
        first.setdefault(int(group), str(patient))
    return [first[int(group)] for group in group_of[patient_of]]


def _draw(
    patients: Sequence[str] | np.ndarray,
    labels: np.ndarray,
    task: Task,
    seed: int,
    fractions: Sequence[float],
    unit: str,
) -> np.ndarray:
    """Split index of each sample, (N,) int64."""
    # As Python strings: NumPy's drop zero characters at the end, so that different ids could become equal.
    names, patient_of = np.unique(np.array([str(name) for name in patients], object), return_inverse=True)
    sizes = _sizes(len(names), fractions, unit)
    strata = _strata(patient_of, labels, task, len(names))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    split_of = np.empty(len(names), dtype=np.int64)
    split_of[by_stratum] = _interleaved(sizes)
    return split_of[patient_of]


def _sizes(total: int, fractions: Sequence[float], unit: str) -> list[int]:
    """Whole numbers near the fractions of a total, at least one each (largest remainder)."""
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) <= 0:
        raise ValueError(f"split fractions {tuple(fractions)} must be positive and sum to 1")
    if total < len(fractions):
        raise UserError(
            f"{len(fractions)} splits need at least as many {unit}, but there are only {total}. "
            f"Add images of other {unit}."
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
