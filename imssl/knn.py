"""Weighted nearest neighbours on frozen features (Wu et al. 2018, section 3.4)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imssl.metrics import check_labels
from imssl.task import Task

# Similarities in memory at a time (64 MB in float32).
CHUNK = 16_000_000


def knn_probabilities(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    features: ArrayLike,
    task: Task,
    classes: int,
    k: int = 20,
    temperature: float = 0.1,
) -> NDArray[np.float64]:
    """Class probabilities by a vote of the k training samples with the largest cosine similarity.

    A neighbour of similarity s votes for its labels with weight exp(s / temperature); the weights are
    normalised to sum to 1. A row of zeros has similarity 0 to everything.

    Args:
        train_features: (N, D).
        train_labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        features: (M, D).
        task: kind of task.
        classes: number of classes C.
        k: neighbours, capped at N.
        temperature: > 0.

    Returns:
        (M, C), from 0 to 1; rows sum to 1 unless the task is multilabel.

    Raises:
        ValueError: an argument is malformed.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"expected k >= 1 and temperature > 0, got k = {k} and temperature = {temperature}")
    train, queries = _unit_rows("train_features", train_features), _unit_rows("features", features)
    if train.shape[1] != queries.shape[1] or len(train) == 0:
        raise ValueError(
            f"cannot compare features of shape {queries.shape} with training features of {train.shape}"
        )
    shape = (len(train), classes) if task == "multilabel" else (len(train),)
    labels = check_labels(task, train_labels, shape, classes)
    votes = labels.astype(float) if task == "multilabel" else np.eye(classes)[labels]
    k = min(k, len(train))
    probabilities = np.empty((len(queries), classes))
    rows = max(1, CHUNK // len(train))
    for start in range(0, len(queries), rows):
        similarity = queries[start : start + rows] @ train.T
        nearest = np.argpartition(similarity, -k, axis=1)[:, -k:]
        nearest_similarity = np.take_along_axis(similarity, nearest, axis=1).astype(float)
        nearest_similarity -= nearest_similarity.max(axis=1, keepdims=True)
        weights = np.exp(nearest_similarity / temperature)
        weights /= weights.sum(axis=1, keepdims=True)
        shares = np.einsum("mk,mkc->mc", weights, votes[nearest])
        # Where all neighbours have one label, rounding may leave 1 + 2e-16, which no reader accepts.
        probabilities[start : start + rows] = np.minimum(shares, 1.0)
    return probabilities


def _unit_rows(name: str, features: ArrayLike) -> NDArray[np.float32]:
    rows = np.asarray(features, dtype=np.float32)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"{name}: expected finite values of shape (N, D), got shape {rows.shape}")
    # In float64, so that the squares of large float32 features do not overflow.
    lengths = np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    unit = np.zeros_like(rows)
    np.divide(rows, lengths, out=unit, where=lengths > 0, casting="same_kind")
    return unit
