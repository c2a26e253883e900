"""The headline predictions of every method: fine-tuned with all labels, each seed on the same test images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.summary.summary import Summary, complete_runs
from imssl.datasets.prepared import Card


@dataclass(frozen=True)
class TestedRuns:
    """What the methods predict on the test images of a data set.

    Attributes:
        card: of the data set.
        ids: (N,) of the images.
        patients: (N,) ids.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (seeds, N, C) by method.
        absent: methods that lack a seed, or were tested on other images.
    """

    card: Card
    ids: NDArray[np.str_]
    patients: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: dict[str, NDArray[np.float64]]
    absent: tuple[str, ...]


def tested_runs(summary: Summary, dataset: str, methods: Sequence[str]) -> TestedRuns | None:
    """Gather them; None where no method has every seed."""
    card = summary.results.cards.get(dataset)
    runs = complete_runs(summary, dataset, "finetune", methods)
    if card is None or not runs:
        return None
    first = next(iter(runs.values()))[0]
    probabilities = {name: np.stack([run.probabilities for run in seeds]) for name, seeds in runs.items()}
    absent = tuple(method for method in methods if method not in runs)
    return TestedRuns(card, first.ids, first.patients, first.labels, probabilities, absent)
