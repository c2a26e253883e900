"""Where each method errs: a confusion matrix, or for a multilabel task the AUROC of each class."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.report.layout import Column, Entry, Row, Table, number, percent, span
from bench.report.material.tested_runs import TestedRuns
from imssl.clustered_auroc import clustered_auroc

# A matrix of more classes than these would not be read.
MOST_CLASSES = 20


def class_tables(runs: TestedRuns, level: float) -> list[tuple[str, Table]]:
    """A table for each method that has every seed, by its id.

    Args:
        runs: of a data set, the methods in this order.
        level: of the intervals.

    Returns:
        Nothing where a confusion matrix would have too many classes.
    """
    if runs.card.task == "multilabel":
        return [(method, _auroc_table(method, runs, level)) for method in runs.probabilities]
    if len(runs.card.classes) > MOST_CLASSES:
        return []
    return [(method, _confusion_table(method, runs)) for method in runs.probabilities]


def confusion(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Images of each class by the class that is predicted, mean over the runs.

    Args:
        labels: (N,) class indices.
        probabilities: (runs, N, C).

    Returns:
        (C, C): true class, predicted class.
    """
    runs, _, classes = probabilities.shape
    counts = np.zeros((classes, classes))
    np.add.at(counts, (np.tile(labels, runs), probabilities.argmax(axis=2).ravel()), 1)
    return np.asarray(counts / runs)


def _confusion_table(method: str, runs: TestedRuns) -> Table:
    counts, classes = confusion(runs.labels, runs.probabilities[method]), runs.card.classes
    rows = []
    for name, of_class in zip(classes, counts, strict=True):
        rows.append(Row(name, tuple(_count_entry(count, of_class.sum()) for count in of_class)))
    return Table(
        id=f"confusion-{runs.card.name}-{method}",
        title=f"{method}: confusion matrix",
        corner="True class",
        columns=tuple(Column(name, group="Predicted class") for name in classes),
        rows=tuple(rows),
        note="Fine-tuned with all labels: test images, mean over the seeds; below it the share of the true "
        "class. What is predicted is the likeliest class.",
    )


def _count_entry(count: float, total: float) -> Entry:
    share = (f"{100 * count / total:.0f}%",) if total else ()
    return Entry(number(count, 0 if float(count).is_integer() else 1), share)


def _auroc_table(method: str, runs: TestedRuns, level: float) -> Table:
    reach = float(ndtri((1 + level) / 2))
    rows = []
    for column, name in enumerate(runs.card.classes):
        positive = runs.labels[:, column] == 1
        auroc = clustered_auroc(positive, runs.probabilities[method][:, :, column], runs.patients)
        images = Entry(f"{positive.sum():,}")
        if auroc is None:
            undefined = Entry("undefined", hole=True, title="no test image, or every one, has the label")
            rows.append(Row(name, (undefined, images)))
            continue
        # At an AUROC of 0 or 1 no pair is out of order, which does not mean that none would be.
        error = auroc.standard_error or None
        ends: tuple[str, ...] = ()
        if error is not None:
            low, high = max(auroc.value - reach * error, 0.0), min(auroc.value + reach * error, 1.0)
            ends = (span(low, high),)
        rows.append(Row(name, (Entry(number(auroc.value), ends), images)))
    return Table(
        id=f"class-auroc-{runs.card.name}-{method}",
        title=f"{method}: AUROC by class",
        corner="Class",
        columns=(Column("AUROC"), Column("test images with it")),
        rows=tuple(rows),
        note=f"Fine-tuned with all labels: mean over the seeds, below it the {percent(level)} interval over "
        "test patients (Obuchowski, 1997), which does not know how much another seed would differ.",
    )
