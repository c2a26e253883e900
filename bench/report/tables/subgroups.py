"""The tables of subgroups: by sex, age, view or whatever else is known of the test images."""

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.analysis.subgroups import LEAST_PATIENTS
from bench.report.layout import EVALUATION_NAMES, METRIC_NAMES, Column, Entry, Table, number, percent, span
from bench.report.tables.comparisons import Scope

Record = dict[Hashable, Any]


def subgroup_tables(scope: Scope) -> list[Table]:
    """The primary metric by subgroup, and the largest gap: a table for each evaluation and attribute."""
    (dataset,) = scope.datasets
    analysis = scope.view.analysis
    of_dataset = analysis.subgroups[analysis.subgroups["dataset"] == dataset]
    gaps = analysis.subgroup_gaps[analysis.subgroup_gaps["dataset"] == dataset]
    tables = []
    for (evaluation, attribute), rows in of_dataset.groupby(["evaluation", "attribute"], sort=False):
        of_attribute = gaps[(gaps["evaluation"] == evaluation) & (gaps["attribute"] == attribute)]
        tables.append(_table(scope, str(evaluation), str(attribute), rows, of_attribute))
    return tables


def _table(scope: Scope, evaluation: str, attribute: str, rows: pd.DataFrame, gaps: pd.DataFrame) -> Table:
    (dataset,) = scope.datasets
    view = scope.view
    groups = rows.drop_duplicates("subgroup")
    entries = {(row["method"], row["subgroup"]): _entry(row) for row in rows.to_dict("records")}
    of_gap = {row["method"]: _gap_entry(row) for row in gaps.to_dict("records")}
    shown = [method for method in view.methods if method in of_gap]
    metric = METRIC_NAMES[str(rows["metric"].iloc[0])]
    columns = [
        Column(group["subgroup"], f"{group['patients']:,} patients, {group['images']:,} images")
        for group in groups.to_dict("records")
    ]
    level = percent(view.summary.protocol.report.level)
    return Table(
        id=f"subgroups-{evaluation}-{dataset}-{attribute}".replace(" ", "-"),
        title=f"{EVALUATION_NAMES[evaluation]}: {metric} by {attribute}",
        corner="Method",
        columns=(*columns, Column("largest gap", lower_is_better=True)),
        rows=tuple(
            replace(
                view.head(method, scope.root),
                entries=(*(entries[method, name] for name in groups["subgroup"]), of_gap[method]),
            )
            for method in shown
        ),
        note=f"Test images, models with all labels; mean over the seeds, below it the {level} interval over "
        "test patients, who are drawn with all of their images. A macro AUROC is over the classes that have "
        "both values in the subgroup. Numbers such as an age are cut at their quartiles over the test "
        f"images. With fewer than {LEAST_PATIENTS} patients, or one class only, a subgroup is too small. The "
        "gap is between the highest and the lowest subgroup; of many it is large by luck as well, which its "
        "interval does not allow for.",
    )


def _entry(row: Record) -> Entry:
    if row["reason"]:
        return Entry("too small", hole=True, title=row["reason"])
    small: tuple[str, ...] = () if pd.isna(row["low"]) else (span(row["low"], row["high"]),)
    return Entry(number(row["value"]), small)


def _gap_entry(row: Record) -> Entry:
    if row["reason"]:
        return Entry("–", hole=True, title=row["reason"])
    interval: tuple[str, ...] = () if pd.isna(row["low"]) else (span(row["low"], row["high"]),)
    return Entry(number(row["gap"]), (*interval, f"{row['highest']} over {row['lowest']}"))
