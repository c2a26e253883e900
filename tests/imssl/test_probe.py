"""The probe chooses on validation and only predicts the test set."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from imssl.datasets.label_sets import LabelledRows
from imssl.metrics import metric_value
from imssl.probe import probe
from imssl.settings.probing import LinearSettings

SETTINGS = LinearSettings(l2=(1e-4, 1e-2, 1.0, 100.0), class_weights="none")


def features_of(prepared, width=20, seed=0):
    """Features that say something of the labels, and noise."""
    draw = np.random.default_rng(seed)
    labels = prepared.labels().astype(float).reshape(len(prepared.samples), -1)
    noise = draw.normal(size=(len(labels), width))
    noise[:, : labels.shape[1]] += labels
    return noise.astype(np.float32)


def labelled(prepared, rows):
    """Some training rows, and all validation rows to choose by."""
    return LabelledRows(rows, prepared.indices("val"))


def with_labels(prepared, split, seed=0):
    """The same data set with the labels of one split permuted."""
    samples, rows = prepared.samples.copy(), prepared.indices(split)
    columns = [samples.columns.get_loc(name) for name in prepared.card.label_columns]
    shuffled = np.random.default_rng(seed).permutation(rows)
    samples.iloc[rows, columns] = prepared.samples.iloc[shuffled, columns].to_numpy()
    return replace(prepared, samples=samples)


@pytest.mark.parametrize("kind", ["chest", "histology", "fundus"])
def test_test_labels_change_nothing(phantom, kind):
    prepared = phantom(kind)
    features, rows = features_of(prepared), prepared.indices("train")
    first = probe(features, prepared, labelled(prepared, rows), SETTINGS)
    permuted = with_labels(prepared, "test")
    assert not np.array_equal(permuted.labels(), prepared.labels())
    other = probe(features, permuted, labelled(permuted, rows), SETTINGS)
    assert other.l2 == first.l2
    assert other.validation_metric == first.validation_metric
    assert np.array_equal(other.validation_probabilities, first.validation_probabilities)
    assert np.array_equal(other.test_probabilities, first.test_probabilities)


def test_validation_labels_choose_but_do_not_train(histology):
    features, rows = features_of(histology), histology.indices("train")
    one = LinearSettings(l2=(0.01,), class_weights="none")
    sets = (histology, with_labels(histology, "val", 1))
    first, other = (probe(features, p, labelled(p, rows), one) for p in sets)
    assert np.array_equal(first.test_probabilities, other.test_probabilities)
    assert first.validation_metric != other.validation_metric


def test_only_the_labelled_rows_train(histology):
    features, rows = features_of(histology), histology.indices("train")[::3]
    first = probe(features, histology, labelled(histology, rows), SETTINGS)
    changed = features.copy()
    changed[np.setdiff1d(histology.indices("train"), rows)] = 1e3
    again = probe(changed, histology, labelled(histology, rows), SETTINGS)
    assert np.array_equal(again.test_probabilities, first.test_probabilities)


def test_only_the_labelled_validation_rows_choose(histology):
    features, validation = features_of(histology), histology.indices("val")
    few = LabelledRows(histology.indices("train"), validation[::4])
    samples = histology.samples.copy()
    unlabelled = np.setdiff1d(validation, few.validation)
    samples.loc[unlabelled, "label"] = 1 - samples.loc[unlabelled, "label"]
    sets = (histology, replace(histology, samples=samples))
    first, other = (probe(features, p, few, SETTINGS) for p in sets)
    assert first.l2 == other.l2
    assert first.validation_metric == other.validation_metric
    score = first.validation_probabilities[np.isin(validation, few.validation), 1]
    expected = roc_auc_score(histology.labels()[few.validation], score)
    assert first.validation_metric == pytest.approx(expected)


def test_it_equals_scikit_learn_at_the_strength_best_on_validation(histology):
    features, labels = features_of(histology).astype(float), histology.labels()
    train, val, test = (histology.indices(split) for split in ("train", "val", "test"))
    standardised = (features - features[train].mean(axis=0)) / features[train].std(axis=0)
    # One sigmoid in place of two softmax weights +-w / 2, whose squared length is half of |w|^2.
    models = {
        l2: LogisticRegression(C=2 / (l2 * len(train)), tol=1e-9, max_iter=20_000).fit(
            standardised[train], labels[train]
        )
        for l2 in SETTINGS.l2
    }
    aurocs = {
        l2: roc_auc_score(labels[val], model.decision_function(standardised[val]))
        for l2, model in models.items()
    }
    best = max(SETTINGS.l2, key=lambda l2: (aurocs[l2], l2))
    probed = probe(features, histology, labelled(histology, train), SETTINGS)
    assert probed.l2 == best
    assert probed.converged
    assert probed.validation_metric == pytest.approx(aurocs[best])
    expected = models[best].predict_proba(standardised[test])
    np.testing.assert_allclose(probed.test_probabilities, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["chest", "histology", "fundus"])
def test_every_sample_is_predicted_in_order(phantom, kind):
    prepared = phantom(kind)
    probed = probe(features_of(prepared), prepared, labelled(prepared, prepared.indices("train")), SETTINGS)
    classes, card = len(prepared.card.classes), prepared.card
    for split, probabilities in (
        ("val", probed.validation_probabilities),
        ("test", probed.test_probabilities),
    ):
        assert probabilities.shape == (len(prepared.indices(split)), classes)
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
        if card.task != "multilabel":
            np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    validation = prepared.labels()[prepared.indices("val")]
    assert probed.validation_metric == metric_value(
        card.primary_metric, card.task, validation, probed.validation_probabilities
    )
    assert probed.l2 in SETTINGS.l2
