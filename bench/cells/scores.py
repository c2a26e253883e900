"""The metrics of a set of predictions as they are stored."""

from dataclasses import asdict
from typing import Any

import numpy as np

from imssl.datasets.prepared import Card
from imssl.metrics import scores


def scores_of(card: Card, labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Every metric by name, None where undefined, and which classes have no AUROC."""
    return asdict(scores(card.task, labels, probabilities, card.classes))
