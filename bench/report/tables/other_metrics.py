"""The tables of the metrics beside the primary one: of all classes together, and class by class."""

from collections.abc import Sequence
from dataclasses import replace

from bench.report.entries import entry_of, seed_note, styles_of
from bench.report.layout import EVALUATION_NAMES, LOWER_IS_BETTER, METRIC_NAMES, Column, Row, Table, number
from bench.report.tables.comparisons import Scope, columns_of, places_of
from bench.report.view import View
from bench.summary.summary import Measurement
from imssl.calibration import BINS

PRECISION_METRICS = ("average_precision", "macro_average_precision")
_BY_CHANCE = (
    "“By chance” is what a model without any skill would get: the share of the test images with the class, "
    "averaged over the classes that have both values. Data sets differ in it, so compare within one."
)
# How a metric is read that is less known, or read the other way round; below its tables.
METRIC_NOTES = {
    "average_precision": _BY_CHANCE,
    "macro_average_precision": _BY_CHANCE,
    "sensitivity_at_90_specificity": "The threshold is read off the test images' ROC curve, where at most "
    "10% of those without the class are called positive; none is carried over from validation.",
    "brier_score": "The mean squared difference of probability and outcome (Brier 1950): of "
    "class 1 for a binary task, averaged over the labels for a multilabel one (both 0 to 1), and summed over "
    "the classes otherwise (0 to 2).",
    "calibration_error": "The gap between predicted probability and frequency, over at most "
    f"{BINS} bins of equal mass, each weighted by its images: of class 1 for a binary task, averaged over "
    "the labels for a multilabel one, and of the predicted class otherwise. With few test images even a "
    "perfect model has an error above 0.",
}


def other_metric_tables(scope: Scope, evaluation: str) -> list[Table]:
    """The other metrics: mean over the seeds, lowest and highest seed; a table each."""
    view, tables = scope.view, []
    for metric in METRIC_NAMES:
        datasets = tuple(name for name in scope.datasets if metric in _other_metrics(view, name))
        if not datasets:
            continue
        part = replace(scope, datasets=datasets)
        rows = []
        for method in view.ordered(evaluation):
            entries = [
                entry_of(view.summary, Measurement(dataset, method, evaluation, *place, "", metric))
                for dataset in datasets
                for place in places_of(part, evaluation)
            ]
            rows.append(replace(view.head(method, scope.root), entries=tuple(entries)))
        title = f"{EVALUATION_NAMES[evaluation]}: {METRIC_NAMES[metric]}"
        name = f"{evaluation}-{metric.replace('_', '-')}"
        columns = tuple(_columns(part, evaluation, metric))
        direction = "Lower is better." if metric in LOWER_IS_BETTER else ""
        note = " ".join(filter(None, (seed_note(view.summary), direction, METRIC_NOTES.get(metric))))
        tables.append(Table(name, title, "Method", columns, tuple(rows), note, evaluation, metric))
    return tables


def class_precision_tables(scope: Scope, evaluation: str) -> list[Table]:
    """Average precision of each class on one data set beside its prevalence; none for a binary task.

    A binary task has one average precision, which has its table among the other metrics.
    """
    (dataset,) = scope.datasets
    view, card = scope.view, scope.view.summary.results.cards.get(dataset)
    prevalence = class_prevalence(scope, dataset, evaluation)
    if card is None or card.task == "binary" or not prevalence:
        return []
    rows = []
    for class_name in card.classes:
        heading = f"{class_name}, prevalence {number(prevalence.get(class_name))}"
        for method in view.methods:
            entries = tuple(
                entry_of(
                    view.summary,
                    Measurement(dataset, method, evaluation, *place, class_name, "average_precision"),
                )
                for place in places_of(scope, evaluation)
            )
            rows.append(Row(method, entries, styles_of(view.summary)[method], heading))
    return [
        Table(
            id=f"{evaluation}-class-average-precision",
            title=f"{EVALUATION_NAMES[evaluation]}: average precision by class",
            corner="Method",
            columns=tuple(columns_of(scope, evaluation, "average_precision")),
            rows=tuple(rows),
            note=f"{seed_note(view.summary)} Prevalence is the share of the test images with the class, "
            "which is what a model without any skill would get.",
            evaluation=evaluation,
            metric="average_precision",
        )
    ]


def _columns(scope: Scope, evaluation: str, metric: str) -> list[Column]:
    """The columns of a metric; below the name of an average precision stands what chance would get."""
    columns = columns_of(scope, evaluation, metric)
    if metric not in PRECISION_METRICS:
        return columns
    words = {name: _chance(scope, name, evaluation) for name in scope.datasets}
    return [replace(column, group_small=column.group_small + words[column.dataset]) for column in columns]


def _chance(scope: Scope, dataset: str, evaluation: str) -> str:
    shares = class_prevalence(scope, dataset, evaluation)
    with_both = [share for share in shares.values() if 0 < share < 1]
    return f", {number(sum(with_both) / len(with_both))} by chance" if with_both else ""


def class_prevalence(scope: Scope, dataset: str, evaluation: str) -> dict[str, float]:
    """Share of the test images with each class, for a binary task of class 1; empty without results."""
    summary, card = scope.view.summary, scope.view.summary.results.cards.get(dataset)
    shares: dict[str, float] = {}
    for class_name in card.classes if card else ():
        names = (
            Measurement(dataset, method, evaluation, *place, class_name, "prevalence")
            for method in scope.view.methods
            for place in places_of(scope, evaluation)
        )
        # The test images are the same for all, so that the first run that has results speaks for the others.
        share = next((mean for name in names if (mean := summary.mean(name)) is not None), None)
        if share is not None:
            shares[class_name] = share
    return shares


def _other_metrics(view: View, dataset: str) -> Sequence[str]:
    card = view.summary.results.cards.get(dataset)
    if card is None:
        return ()
    names = ["macro_f1", "accuracy", "balanced_accuracy", "brier_score", "calibration_error"]
    if card.task == "binary":
        names += ["auroc", "average_precision", "sensitivity_at_90_specificity"]
    else:
        names += ["macro_auroc", "macro_average_precision"]
    names += ["qwk"] if card.task == "ordinal" else []
    return [name for name in names if name != card.primary_metric]
