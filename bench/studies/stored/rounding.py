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
# In the place of a step: predictions are kept as their 64 bits. With few images a single pair of neighbours
# in a ranking, or one confidence at the edge of a bin, may move a metric by more, whatever the step.
AS_THEY_ARE = 0.0
# Tried from the coarsest.
STEPS = (*(2.0**-bits for bits in (*range(7, 18), 20)), AS_THEY_ARE)
# Of the log-odds of 0 and 1: expit(-746) is 0 in double precision, and next to it come the smallest numbers,
# whose order decides a ranking.
FARTHEST = 746.0
# Of what the other columns leave for the last: below expit(-40) a difference from 1 is rounding.
LEAST_LEFT = 40.0

# Steps that a class is raised by at most: one for the rounding of each side, one to be ahead of it.
MOST_RAISED = 3

Array = NDArray[np.float64]
Integers = NDArray[np.int32] | NDArray[np.int64]


def kept_classes(card: Card) -> list[int]:
    """Indices of the classes whose probabilities are kept: of a binary task the negative one follows."""
    return [1] if card.task == "binary" else list(range(len(card.classes)))


def to_integers(card: Card, probabilities: Array, step: float) -> Integers:
    """What is stored of predictions: a column for each of the kept classes.

    A column holds log-odds in steps. Where probabilities add up to 1, the last one holds by how many steps
    they differ from what the other columns leave for it: hardly ever more than one, which takes no space.

    Args:
        card: of the data set.
        probabilities: (N, C).
        step: of the log-odds, or `AS_THEY_ARE`.
    """
    if step == AS_THEY_ARE:
        return np.ascontiguousarray(probabilities[:, kept_classes(card)], np.float64).view(np.int64)
    integers = _steps(probabilities[:, kept_classes(card)], step)
    if card.task != "multilabel":
        _keep_the_most_probable(card, probabilities, integers, step)
    if _adds_up(card):
        integers[:, -1] -= _left_for_the_last(integers, step)
    return integers


def to_probabilities(card: Card, integers: Integers, step: float) -> Array:
    """The (N, C) probabilities that stored integers stand for."""
    if step == AS_THEY_ARE:
        return _with_the_negative(card, np.ascontiguousarray(integers, np.int64).view(np.float64))
    if _adds_up(card):
        last = integers[:, -1:] + _left_for_the_last(integers, step)[:, None]
        integers = np.concatenate([integers[:, :-1], last], axis=1)
    return _of_all_classes(card, integers, step)


def rounded(card: Card, probabilities: Array, step: float) -> Array:
    """What a reader of the study gets: (N, C) probabilities after rounding."""
    return to_probabilities(card, to_integers(card, probabilities, step), step)


def _adds_up(card: Card) -> bool:
    """Whether the probabilities of the kept classes add up to 1."""
    return card.task in ("multiclass", "ordinal")


def _steps(probabilities: Array, step: float, farthest: float = FARTHEST) -> Integers:
    """Log-odds in steps, of the same shape; 0 and 1 become the farthest ones."""
    with np.errstate(divide="ignore"):
        odds = np.clip(logit(probabilities), -farthest, farthest)
    return np.round(odds / step).astype(np.int32)


def _of_all_classes(card: Card, integers: Integers, step: float) -> Array:
    return _with_the_negative(card, _of_steps(integers, step))


def _with_the_negative(card: Card, kept: Array) -> Array:
    return np.column_stack([1 - kept[:, 0], kept[:, 0]]) if card.task == "binary" else kept


def _keep_the_most_probable(card: Card, exact: Array, integers: Integers, step: float) -> None:
    """Raise, by a step at a time, the class that an image is assigned to, where rounding made it another one.

    Votes of neighbours often differ in their last bits only, and whole images would change their class.
    """
    first = kept_classes(card)[0]
    for _ in range(MOST_RAISED):
        other = np.flatnonzero(_of_all_classes(card, integers, step).argmax(axis=1) != exact.argmax(axis=1))
        integers[other, exact[other].argmax(axis=1) - first] += 1


def _of_steps(integers: Integers, step: float) -> Array:
    odds = integers.astype(np.float64) * step
    # Next to 1 by way of what is missing to it, or probabilities that differ in their last bits become ties,
    # of which nearest neighbours that are all of one class give many.
    return np.where(odds > 0, 1 - expit(-odds), expit(odds))


def _left_for_the_last(integers: Integers, step: float) -> Integers:
    others = _of_steps(integers[:, :-1], step).sum(axis=1)
    return _steps(np.clip(1 - others, 0, 1), step, LEAST_LEFT)


def effect_on_scores(card: Card, labels: NDArray[np.int64], exact: Array, coarse: Array) -> float:
    """Largest change of any metric; infinite where one is defined before or after only."""
    before, after = ([row["value"] for row in score_rows(card, labels, values)] for values in (exact, coarse))
    return max(map(_change, before, after), default=0.0)


def coarsest_step(effect: Callable[[float], float], steps: Sequence[float] = STEPS) -> tuple[float, float]:
    """The coarsest step whose effect is below `LARGEST_EFFECT`, or else the last; and its effect."""
    for step in steps:
        change = effect(step)
        if change < LARGEST_EFFECT:
            break
    return step, change


def _change(before: float | None, after: float | None) -> float:
    if before is None or after is None:
        return 0.0 if before is after else float("inf")
    return abs(after - before)
