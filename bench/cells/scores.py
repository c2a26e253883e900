"""What a cell's metrics.json holds: a list of numbers, each with its name and what it is about.

Every stage writes the same form, so whatever reads results needs to know no stage.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from imssl.datasets.prepared import Card, Prepared

if TYPE_CHECKING:
    from imssl.datasets.label_sets import LabelledRows

# {"metric": name, "value": number or None}, and where the number is about one of them "class", "block" or the
# column of a label set.
MetricRow = dict[str, Any]

SCORE_NAMES = ("macro_auroc", "macro_f1", "accuracy", "balanced_accuracy", "qwk")


def score_rows(card: Card, labels: np.ndarray, probabilities: np.ndarray) -> list[MetricRow]:
    """Every metric of a set of predictions; None where it is undefined.

    Args:
        card: of the data set.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C).
    """
    # Imported here: stages that judge no predictions must not depend on the metrics.
    from imssl.metrics import scores

    metrics = scores(card.task, labels, probabilities, card.classes)
    rows: list[MetricRow] = []
    for name in SCORE_NAMES:
        # A binary task has one AUROC, so its macro AUROC goes by the plain name.
        shown = "auroc" if card.task == "binary" and name == "macro_auroc" else name
        if name != "qwk" or card.task == "ordinal":
            rows.append({"metric": shown, "value": getattr(metrics, name)})
    for label, auroc in metrics.auroc_per_class.items():
        rows.append({"metric": "auroc", "class": label, "value": auroc})
    rows += _precision_rows(card, labels, probabilities)
    return rows + _calibration_rows(card, labels, probabilities)


def _precision_rows(card: Card, labels: np.ndarray, probabilities: np.ndarray) -> list[MetricRow]:
    from imssl.curves import average_precision, sensitivity_at_specificity

    precision = average_precision(card.task, labels, probabilities, card.classes)
    name = "average_precision" if card.task == "binary" else "macro_average_precision"
    rows: list[MetricRow] = [{"metric": name, "value": precision.macro}]
    for label, value in precision.per_class.items():
        rows.append({"metric": "average_precision", "class": label, "value": value})
        rows.append({"metric": "prevalence", "class": label, "value": precision.prevalence[label]})
    if card.task == "binary":
        sensitivity = sensitivity_at_specificity(labels, probabilities, 0.9)
        rows.append({"metric": "sensitivity_at_90_specificity", "value": sensitivity})
    return rows


def _calibration_rows(card: Card, labels: np.ndarray, probabilities: np.ndarray) -> list[MetricRow]:
    from imssl.calibration import brier_score, calibration_error

    return [
        {"metric": "brier_score", "value": brier_score(card.task, labels, probabilities)},
        {"metric": "calibration_error", "value": calibration_error(card.task, labels, probabilities)},
    ]


def labels_used(prepared: Prepared, labelled: "LabelledRows") -> dict[str, float]:
    """The labels that were really drawn, by name: a small set is filled up to show every class.

    Args:
        prepared: data set.
        labelled: rows whose labels were used.
    """
    return {
        "labelled_images": len(labelled.training),
        "labelled_validation_images": len(labelled.validation),
        "labelled_share": len(labelled.training) / len(prepared.indices("train")),
    }


def number_rows(numbers: Mapping[str, float | bool | None]) -> list[MetricRow]:
    """Numbers by name, in alphabetical order."""
    return [
        {"metric": name, "value": None if value is None else float(value)}
        for name, value in sorted(numbers.items())
    ]
