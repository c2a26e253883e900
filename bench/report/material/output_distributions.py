"""The output distributions behind a KS value: how often a class's probability is at most so high."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.protocol.cell import Cell
from bench.summary.summary import Measurement, Summary
from imssl.settings.labels import EVERYTHING, LabelSet

POINTS = 80
# Probabilities at which the table of numbers reads the distributions off.
READ_AT = (0.1, 0.25, 0.5, 0.75, 0.9)

# (probability, share of the test images at or below it), ascending.
Steps = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Outputs:
    """One class's predicted probabilities of one run, with few labels and with all.

    Attributes:
        method: id.
        seed: of the run.
        class_name: whose probability it is.
        labels: how many the few are.
        few: empirical distribution with these.
        every: the same with all labels.
        distance: the largest gap between the two, which is the KS distance.
        at: probability at which it lies.
        low: the lower distribution there.
        high: the higher one.
        read_off: both distributions, few labels first, at each probability of READ_AT.
    """

    method: str
    seed: int
    class_name: str
    labels: LabelSet
    few: Steps
    every: Steps
    distance: float
    at: float
    low: float
    high: float
    read_off: tuple[tuple[float, float], ...]


def outputs_of(summary: Summary, dataset: str, methods: Sequence[str]) -> list[Outputs]:
    """Of the class that moves most at the smallest share of labels, for the protocol's first seed.

    The class is the same for all methods: the one whose KS distance is the largest on average. Methods
    without predictions are left out.
    """
    class_name = _moving_most(summary, dataset, methods)
    if class_name is None:
        return []
    column = summary.results.cards[dataset].classes.index(class_name)
    seed, labels = summary.protocol.seeds[0], summary.protocol.label_shares[0]
    outputs = []
    for method in methods:
        pair = [
            summary.results.predictions.get((Cell("finetune", dataset, method, seed, label_set), None))
            for label_set in (labels, EVERYTHING)
        ]
        if pair[0] is not None and pair[1] is not None:
            few, every = (predictions.probabilities[:, column] for predictions in pair if predictions)
            outputs.append(_compared(method, seed, class_name, labels, few, every))
    return outputs


def _moving_most(summary: Summary, dataset: str, methods: Sequence[str]) -> str | None:
    card, shares = summary.results.cards.get(dataset), summary.protocol.label_shares
    if card is None or len(shares) < 2:
        return None
    means = {}
    for name in card.classes[1:] if card.task == "binary" else card.classes:
        values = [
            value
            for method in methods
            if (value := summary.mean(Measurement(dataset, method, "ks", shares[0], None, name, "ks")))
            is not None
        ]
        if values:
            means[name] = float(np.mean(values))
    return max(means, key=lambda name: means[name]) if means else None


def _compared(
    method: str,
    seed: int,
    class_name: str,
    labels: LabelSet,
    few: NDArray[np.float64],
    every: NDArray[np.float64],
) -> Outputs:
    places = np.unique(np.concatenate([few, every]))
    shares = [np.searchsorted(np.sort(values), places, side="right") / values.size for values in (few, every)]
    gap = int(np.argmax(np.abs(shares[0] - shares[1])))
    ends = sorted((float(shares[0][gap]), float(shares[1][gap])))
    return Outputs(
        method=method,
        seed=seed,
        class_name=class_name,
        labels=labels,
        few=_steps(places, shares[0], gap),
        every=_steps(places, shares[1], gap),
        distance=ends[1] - ends[0],
        at=round(float(places[gap]), 4),
        low=round(ends[0], 4),
        high=round(ends[1], 4),
        read_off=tuple((float((few <= p).mean()), float((every <= p).mean())) for p in READ_AT),
    )


def _steps(places: NDArray[np.float64], shares: NDArray[np.float64], gap: int) -> Steps:
    """The distribution at so many of its places that a chart shows its shape, the largest gap among them."""
    spread = np.linspace(0, places.size - 1, min(POINTS, places.size)).round().astype(int)
    chosen = np.unique(np.append(spread, gap))
    inner = [(round(float(places[i]), 4), round(float(shares[i]), 4)) for i in chosen]
    return ((0.0, 0.0), *inner, (1.0, 1.0))
