"""How far effects on feature reuse and output distances could be from what other patients would have shown.

CKA compares images with one another, so a bootstrap, which puts copies of an image beside it, would raise it;
its part is the jackknife's (Quenouille 1956; Tukey 1958), of the claim's own contrast. KS distances are
resampled with the resamples of patients that all metrics have.
"""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.cells.files import LEFT_OUT_PATIENTS, LeftOut
from bench.cells.predictions import Predictions
from bench.summary.bootstrap import bootstrap_seed, resample_counts
from bench.summary.draws_cache import kept_arrays
from bench.summary.estimated_mean import EstimatedMean

Array = NDArray[np.float64]
# Weights of a contrast by block, 1 to 4.
BlockWeights = Mapping[int, float]


def contrast_left_out(
    cells: Sequence[LeftOut | None], labels: Sequence[str], weights: BlockWeights
) -> Array | str:
    """A weighted sum over blocks of one method's CKA without each patient, mean over cells and label sets.

    Args:
        cells: of each seed.
        labels: ids of the label sets.
        weights: by block.

    Returns:
        (P,); or in words why there is none.
    """
    known = [cell for cell in cells if cell is not None]
    if not known or len(known) < len(cells):
        return "cells that were computed or packed before CKA without each patient was kept"
    if not all(np.array_equal(cell[LEFT_OUT_PATIENTS], known[0][LEFT_OUT_PATIENTS]) for cell in known):
        return "features of other patients from seed to seed"
    blocks = np.array([weights.get(block, 0.0) for block in range(1, len(known[0][labels[0]]) + 1)])
    values: Array = np.mean([blocks @ cell[name] for cell in known for name in labels], axis=0)
    return values if np.isfinite(values).all() else "too few patients"


def jackknife_variance(left_out: Array) -> float:
    """(P - 1) / P times the sum of squared deviations of an estimate without each of P patients in turn."""
    count = left_out.size
    return (count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum())


def with_patients(estimate: EstimatedMean, variance: float, patients: int) -> EstimatedMean:
    """An estimate over seeds with the patients' part of its variance."""
    return replace(estimate, patient_variance=variance, patient_freedom=patients - 1, units=patients)


def ks_draws(
    dataset: str,
    fewer: Sequence[Predictions],
    everything: Sequence[Predictions],
    is_binary: bool,
    resamples: int,
) -> Array:
    """Mean KS distance of pairs of outputs on every resample of the data set's test patients.

    Args:
        dataset: id.
        fewer: outputs with few labels.
        everything: outputs with all labels, each beside the one it is compared with, of the same images.
        is_binary: whether the two classes mirror one another, so that one says all.
        resamples: R.

    Returns:
        (R,) mean over the pairs and their classes; the same R as those of `bench.summary.draws`.
    """
    patients, seed = fewer[0].patients, bootstrap_seed(dataset)
    columns = slice(1, 2) if is_binary else slice(None)
    pairs = [
        (few.probabilities[:, columns], every.probabilities[:, columns])
        for few, every in zip(fewer, everything, strict=True)
    ]

    def compute() -> Array:
        chunks = [
            np.mean([ks_of_counts(*pair, counts) for pair in pairs], axis=0)
            for counts in resample_counts(patients, resamples, seed)
        ]
        return np.concatenate(chunks)

    digest = hashlib.sha256(f"{inspect.getsource(ks_of_counts)}{resamples} {seed}".encode())
    for array in (patients, *(side for pair in pairs for side in pair)):
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return kept_arrays(digest.hexdigest(), compute)


def ks_of_counts(fewer: Array, everything: Array, counts: NDArray[np.int32]) -> Array:
    """Two-sample KS distance of resampled outputs, mean over the classes.

    Args:
        fewer: (N, C) of one model.
        everything: (N, C) of the other, of the same images.
        counts: (R, N) how often each image is drawn.

    Returns:
        (R,).
    """
    images, distances = len(fewer), []
    for few, every in zip(fewer.T, everything.T, strict=True):
        pooled = np.concatenate([few, every])
        order = np.argsort(pooled, kind="stable")
        # The two distributions are compared behind the last of equal values.
        last = np.append(np.diff(pooled[order]) > 0, True)
        steps = counts[:, order % images] * np.where(order < images, 1, -1).astype(np.int32)
        gaps = np.cumsum(steps, axis=1, dtype=np.int32)[:, last]
        distances.append(np.abs(gaps).max(axis=1))
    means: Array = np.mean(distances, axis=0) / counts.sum(axis=1)
    return means


def covered_words(reasons: Mapping[str, str], seeds: int) -> str:
    """What an interval is about.

    Args:
        reasons: by data set, why patients are not in it; empty where they are.
        seeds: of the run.
    """
    without = {dataset: reason for dataset, reason in reasons.items() if reason}
    if not without:
        return "test patients and seeds" if seeds > 1 else "test patients only"
    words = "; ".join(f"{dataset}: {reason}" for dataset, reason in without.items())
    if len(without) < len(reasons):
        return f"test patients and seeds, on some data sets seeds only ({words})"
    return f"{'seeds only' if seeds > 1 else 'nothing'} ({words})"
