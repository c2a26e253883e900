"""Linear classifiers on frozen features: on each block, or on the last one with few labels."""

from dataclasses import dataclass

import numpy as np

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
        validation_metric: the data set's primary metric on validation; None if undefined.
        validation_probabilities: (N_val, C).
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
    training_rows: np.ndarray,
    settings: LinearSettings,
) -> Probed:
    """Fit on the labelled training rows, choose the strength on validation, predict the test set.

    Args:
        features: (N, D) frozen features of every sample of the data set, in its order.
        prepared: data set.
        training_rows: (n,) rows with labels.
        settings: strengths and class weights.
    """
    card, labels = prepared.card, prepared.labels()
    validation, test = prepared.indices("val"), prepared.indices("test")

    def validation_metric(linear: Linear) -> float | None:
        probabilities = predict_probabilities(linear, features[validation])
        return metric_value(card.primary_metric, card.task, labels[validation], probabilities)

    candidates = fit(
        features[training_rows],
        labels[training_rows],
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
        validation_probabilities=predict_probabilities(best, features[validation]),
        test_probabilities=predict_probabilities(best, features[test]),
    )
