"""Linear classifiers on frozen features: on each block, or on the last one with few labels."""

from dataclasses import dataclass

import numpy as np

from imssl.datasets.label_sets import LabelledRows
from imssl.datasets.prepared import Prepared
from imssl.linear import Linear, fit, predict_probabilities, select
from imssl.metrics import metric_value
from imssl.settings.probing import LinearSettings


@dataclass(frozen=True)
class Probed:
    """A linear classifier's choice and predictions.

    Attributes:
        l2: strength chosen on validation.
        converged: whether the solver met its tolerance.
        validation_metric: the data set's primary metric on the labelled validation images; None if undefined.
        validation_probabilities: (N_val, C), of all validation images, labelled or not.
        test_probabilities: (N_test, C), every test sample in the data set's order.
    """

    l2: float
    converged: bool
    validation_metric: float | None
    validation_probabilities: np.ndarray
    test_probabilities: np.ndarray


def probe(
    features: np.ndarray,
    prepared: Prepared,
    labelled: LabelledRows,
    settings: LinearSettings,
) -> Probed:
    """Fit on the labelled training rows, choose the strength on labelled validation rows, predict the rest.

    Args:
        features: (N, D) frozen features of every sample of the data set, in its order.
        prepared: data set.
        labelled: rows to fit on, and rows by which the strength is chosen.
        settings: strengths and class weights.
    """
    card, labels = prepared.card, prepared.labels()
    choosing = labelled.validation

    def validation_metric(linear: Linear) -> float | None:
        probabilities = predict_probabilities(linear, features[choosing])
        return metric_value(card.primary_metric, card.task, labels[choosing], probabilities)

    candidates = fit(
        features[labelled.training],
        labels[labelled.training],
        card.task,
        len(card.classes),
        settings.l2,
        settings.class_weights,
    )
    best = select(candidates, validation_metric)
    return Probed(
        l2=best.l2,
        converged=best.converged,
        validation_metric=validation_metric(best),
        validation_probabilities=predict_probabilities(best, features[prepared.indices("val")]),
        test_probabilities=predict_probabilities(best, features[prepared.indices("test")]),
    )
