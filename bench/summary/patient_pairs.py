"""AUROC on resamples of few patients: pairs of patients are compared once, and each resample weighs them.

How often a resample draws two images together is the product of how often it draws their patients. With few
patients, there are fewer such products than images to sort and sum, and one matrix product serves all runs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# With more, the products of a thousand resamples take more memory and time than the sums that they replace.
MOST_PATIENTS = 100
# Below it float32 holds every whole number.
EXACT = 2**24


class PatientPairs:
    """The pairs of patients of a data set in every resample."""

    def __init__(
        self, positive: NDArray[np.bool_], patients: NDArray[np.str_], counts: NDArray[np.int32]
    ) -> None:
        """Weigh the pairs.

        Args:
            positive: (N, C) whether a sample has the class.
            patients: (N,) whose it is.
            counts: (R, N) how often it is drawn in each resample; alike for all samples of a patient.
        """
        ids, first, patient = np.unique(patients, return_index=True, return_inverse=True)
        times = counts[:, first].astype(np.int64)
        self.positive = positive
        self.members = (patient[:, None] == np.arange(ids.size)).astype(np.float64)
        drawn = [times @ (self.members.T @ kind).astype(np.int64) for kind in (positive, ~positive)]
        self.half_pairs = 2 * drawn[0] * drawn[1]
        self.upper = np.triu_indices(ids.size)
        precision = np.float32 if self.half_pairs.max(initial=0) < EXACT else np.float64
        self.weights = (times[:, self.upper[0]] * times[:, self.upper[1]]).astype(precision)

    def mean_aurocs(self, scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Mean over the classes of their AUROC, for several runs.

        Args:
            scores: (N, C) of each run.

        Returns:
            (runs, R); a class that is undefined in a resample is left out of that resample's mean, NaN where
            all are.
        """
        wins = np.stack([self._half_wins(run) for run in scores], axis=1)
        half_wins = (self.weights @ wins.reshape(len(wins), -1).astype(self.weights.dtype)).astype(np.float64)
        defined = self.half_pairs > 0
        shares = (
            half_wins.reshape(len(self.weights), len(scores), -1) / np.maximum(self.half_pairs, 1)[:, None]
        )
        total = np.where(defined[:, None], shares, 0.0).sum(axis=2)
        classes = defined.sum(axis=1)
        return np.where(classes > 0, total.T / np.maximum(classes, 1), np.nan)

    def _half_wins(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(pairs of patients, C): 2 for each positive above a negative of the other, 1 for a tie."""
        columns = []
        for score, positive in zip(scores.T, self.positive.T, strict=True):
            high, low = score[positive, None], score[~positive]
            wins = (high > low).astype(np.float64) + (high >= low)
            between = self.members[positive].T @ wins @ self.members[~positive]
            both_ways = between + between.T
            both_ways[np.diag_indices_from(both_ways)] /= 2
            columns.append(both_ways[self.upper])
        return np.stack(columns, axis=1)
