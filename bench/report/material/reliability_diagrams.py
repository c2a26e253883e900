"""The reliability diagrams behind the calibration error: what was predicted against what came true."""

from collections.abc import Sequence
from typing import cast

import numpy as np

from bench.protocol.cell import Cell
from bench.protocol.stage_specs import Stage
from bench.summary.summary import Summary
from imssl.calibration import Reliability, reliability
from imssl.settings.labels import EVERYTHING
from imssl.task import Task

# What is predicted with the probability on the horizontal axis, see imssl.calibration.reliability.
PREDICTED: dict[Task, str] = {
    "binary": "class 1",
    "multilabel": "each label, pooled",
    "multiclass": "the predicted class",
    "ordinal": "the predicted class",
}
# Why a diagram's gap is not the number in the table of calibration errors.
GAP_NOTE = (
    "the calibration error of the tables is worked out seed by seed, and label by label where an image has "
    "several, and then averaged, so it is not the same number."
)


def reliability_diagrams(
    summary: Summary, dataset: str, evaluation: str, methods: Sequence[str]
) -> dict[str, Reliability]:
    """One diagram for each method, of an evaluation with all labels.

    The predictions of all seeds are pooled, as if each test image were asked about once by every seed; so
    are the labels of a multilabel task, where one line has to stand for all. Methods that lack the
    predictions of a seed are left out.

    Args:
        summary: of the run.
        dataset: id.
        evaluation: one with a cell per label set.
        methods: ids.

    Returns:
        Diagrams by method, in the order of the methods.
    """
    card = summary.results.cards.get(dataset)
    if card is None:
        return {}
    diagrams, stage = {}, cast(Stage, evaluation)
    for method in methods:
        cells = [Cell(stage, dataset, method, seed, EVERYTHING) for seed in summary.protocol.seeds]
        runs = [run for cell in cells if (run := summary.results.predictions.get((cell, None)))]
        if len(runs) == len(cells):
            labels = np.concatenate([run.labels for run in runs])
            probabilities = np.concatenate([run.probabilities for run in runs])
            diagrams[method] = _pooled(card.task, labels, probabilities)
    return diagrams


def _pooled(task: Task, labels: np.ndarray, probabilities: np.ndarray) -> Reliability:
    """One diagram; every label of every image of a multilabel task counts as a binary task of its own."""
    if task == "multilabel":
        flat = probabilities.ravel()
        task, labels, probabilities = "binary", labels.ravel(), np.column_stack([1 - flat, flat])
    (diagram,) = reliability(task, labels, probabilities)
    return diagram
