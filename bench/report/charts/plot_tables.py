"""Small tables for ``dvc plots show``: the main charts as rows of data set, method, x and y."""

import pandas as pd

from bench.cells.files import REPORTS, write_table
from bench.report.layout import EVALUATION_NAMES
from bench.summary.summary import Summary

PLOTS = REPORTS / "plots"


def write_plot_tables(summary: Summary) -> None:
    """Write the tables that dvc.yaml draws; a mean that lacks a seed is not in them."""
    for name, table in plot_tables(summary).items():
        write_table(PLOTS / f"{name}.csv", table)


def plot_tables(summary: Summary) -> dict[str, pd.DataFrame]:
    """Primary metric by label fraction, by block, and the pretraining loss by epoch."""
    rows: dict[str, list[dict[str, object]]] = {evaluation: [] for evaluation in EVALUATION_NAMES}
    for place, column in summary.columns.items():
        for method, values in zip(column.methods, column.values, strict=True):
            named = {"dataset": place.dataset, "method": method}
            point = {"block": place.block} if place.block else {"fraction": place.fraction}
            rows[place.evaluation].append(named | point | {"metric": values.mean()})
    curves = summary.curves
    loss = curves[curves["quantity"] == "loss"].rename(columns={"mean": "loss"})
    return {
        "label_efficiency": _table(rows["finetune"], "fraction", "metric"),
        "label_efficiency_frozen": _table(rows["frozen"], "fraction", "metric"),
        "label_efficiency_knn": _table(rows["knn"], "fraction", "metric"),
        "probing_profile": _table(rows["probe"], "block", "metric"),
        "pretraining_loss": loss[["dataset", "method", "epoch", "loss"]].reset_index(drop=True),
    }


def _table(rows: list[dict[str, object]], x: str, y: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["dataset", "method", x, y])
