"""The table that answers first: the mean score of every method in every evaluation."""

from dataclasses import replace

from bench.report.layout import EVALUATIONS, Table, percent
from bench.report.material.wording import ANOTHER_METHOD, covered_by
from bench.report.tables.comparisons import Scope, standing_column, standing_entry


def standings_table(scope: Scope) -> Table:
    """Methods by their mean score of fine-tuning, that of the other evaluations beside it."""
    view = scope.view
    rows = [
        replace(
            view.head(method, scope.root),
            entries=tuple(standing_entry(view, evaluation, method) for evaluation in EVALUATIONS),
        )
        for method in view.methods
    ]
    columns = [
        replace(standing_column(view, evaluation, words.short), group="", group_small="")
        for evaluation, words in EVALUATIONS.items()
    ]
    settings, seeds = view.summary.protocol.report, len(view.summary.protocol.seeds)
    marks = (
        f"“worse” is distinguishable from the best of its column, with all pairs compared. {ANOTHER_METHOD}; "
        "marks are among the methods of the run."
        if seeds >= settings.least_seeds
        else "Too few seeds for marks."
    )
    return Table(
        id="standings",
        title="Mean score over all data sets",
        corner="Method",
        columns=tuple(columns),
        rows=tuple(rows),
        note="Mean of the primary metrics of all data sets and label sets (of probes: blocks), scaled so "
        f"that 0 is chance and 1 is perfect; below it the {percent(settings.level)} interval "
        f"{covered_by(seeds)}. "
        f"{marks} Tables and charts are in this order, each evaluation by its own column.",
    )
