"""Predictions in a few bits: log-odds in steps so coarse that no metric moves by more than a stated bound.

Steps of the log-odds are finest, in probabilities, near 0 and 1, where most predictions are and where a
ranking decides: float16 would make ties of everything above 0.9995.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from bench.cells.scores import score_rows
from imssl.datasets.prepared import Card

# No metric of a cell moves by so much or more.
LARGEST_EFFECT = 1e-4
# Tried from the coarsest; the last moves no probability by more than 1e-7 and is taken whatever its effect.
STEPS = (2.0**-7, 2.0**-9, 2.0**-11, 2.0**-20)
# Of the log-odds of 0 and 1: expit(40) is 1 in double precision.
FARTHEST = 40.0

Array = NDArray[np.float64]


def to_integers(probabilities: Array, step: float) -> NDArray[np.int32]:
    """Log-odds in steps, of the same shape; 0 and 1 become the farthest ones."""
    with np.errstate(divide="ignore"):
        odds = np.clip(logit(probabilities), -FARTHEST, FARTHEST)
    return np.round(odds / step).astype(np.int32)


def to_probabilities(integers: NDArray[np.int32], step: float) -> Array:
    """The probabilities that integers stand for."""
    values: Array = expit(integers.astype(np.float64) * step)
    return values


def kept_classes(card: Card) -> list[int]:
    """Indices of the classes whose probabilities are kept: of a binary task the negative one follows."""
    return [1] if card.task == "binary" else list(range(len(card.classes)))


def rounded(card: Card, probabilities: Array, step: float) -> Array:
    """What a reader of the study gets: (N, C) probabilities after rounding.

    Args:
        card: of the data set.
        probabilities: (N, C).
        step: of the log-odds.
    """
    kept = to_probabilities(to_integers(probabilities[:, kept_classes(card)], step), step)
    return with_all_classes(card, kept)


def with_all_classes(card: Card, kept: Array) -> Array:
    """(N, C) probabilities from those of the kept classes."""
    return np.column_stack([1 - kept[:, 0], kept[:, 0]]) if card.task == "binary" else kept


def effect_on_scores(card: Card, labels: NDArray[np.int64], exact: Array, coarse: Array) -> float:
    """Largest change of any metric; infinite where one is defined before or after only."""
    before, after = ([row["value"] for row in score_rows(card, labels, values)] for values in (exact, coarse))
    return max(map(_change, before, after), default=0.0)


def coarsest_step(effect: Callable[[float], float], steps: Sequence[float] = STEPS) -> tuple[float, float]:
    """The coarsest step whose effect is below `LARGEST_EFFECT`, or else the finest; and its effect."""
    for step in steps:
        change = effect(step)
        if change < LARGEST_EFFECT:
            break
    return step, change


def _change(before: float | None, after: float | None) -> float:
    if before is None or after is None:
        return 0.0 if before is after else float("inf")
    return abs(after - before)
