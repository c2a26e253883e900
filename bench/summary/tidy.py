"""The tidy table of every number of a run: one row per cell and metric, as in reports/results.csv."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.cells.cell import Cell, evaluation_of
from imssl.datasets.source import Task

# The columns of reports/results.csv, in their order.
COLUMNS: dict[str, str] = {
    "dataset": "id of the data set",
    "method": "id of the method",
    "seed": "of the run",
    "evaluation": "pretrain, finetune (all weights), frozen (a linear classifier on the frozen encoder), "
    "probe (the same on each block, with all labels), reuse (CKA before and after fine-tuning), "
    "ks (distance of the outputs to those at all labels)",
    "fraction": "share of the labelled training images; empty for pretrain and probe",
    "block": "of the encoder, 1 to 4; empty where the whole encoder is meant",
    "class": "the class that the value is about; empty where it is about all of them",
    "metric": "what was measured; empty in the one row of a cell without results",
    "value": "the number; empty where the metric is undefined or the cell has no results",
    "status": "of the cell: done, missing, failed, stale (of other settings, code or data), damaged",
}

# One value of a cell: what identifies it within the cell, and the number.
TidyRow = dict[str, Any]

SCORE_NAMES = ("macro_auroc", "macro_f1", "accuracy", "balanced_accuracy", "qwk")
CKA_NAMES = {"observed": "", "mean": "_null_mean", "percentile_95": "_null_95", "p_value": "_p_value"}


def tidy_table(rows: dict[Cell, list[TidyRow]], statuses: dict[Cell, str]) -> pd.DataFrame:
    """The tidy table of all cells, in the order of the statuses.

    Args:
        rows: values of the cells that have results.
        statuses: of every cell of the protocol.
    """
    content = [
        {
            "dataset": cell.dataset,
            "method": cell.method,
            "seed": cell.seed,
            "evaluation": evaluation_of(cell),
            "fraction": row.get("fraction", cell.fraction),
            "block": row.get("block"),
            "class": row.get("class", ""),
            "metric": row.get("metric", ""),
            "value": row.get("value"),
            "status": status,
        }
        for cell, status in statuses.items()
        for row in rows.get(cell, [{}])
    ]
    table = pd.DataFrame(content, columns=list(COLUMNS))
    return table.astype({"fraction": float, "block": "Int64", "value": float})


def rows_of(cell: Cell, metrics: Any, task: Task) -> list[TidyRow]:
    """The values in a cell's metrics.json.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not what the stage writes.
    """
    if cell.stage == "reuse":
        return list(_cka_rows(metrics))
    if cell.stage == "ks":
        return list(_ks_rows(metrics))
    if cell.stage == "probe":
        return [
            {**row, "block": int(name.removeprefix("block_"))}
            for name, block in sorted(metrics.items())
            for row in _score_rows(block, task)
        ]
    return list(_score_rows(metrics, task) if cell.stage == "finetune" else _numbers(metrics))


def _score_rows(metrics: dict[str, Any], task: Task) -> Iterator[TidyRow]:
    """Scores by name; a binary task has one AUROC, so its macro AUROC is called by the plain name."""
    for name in SCORE_NAMES:
        shown = "auroc" if task == "binary" and name == "macro_auroc" else name
        if name != "qwk" or task == "ordinal":
            yield {"metric": shown, "value": _number(metrics[name])}
    for label, auroc in metrics["auroc_per_class"].items():
        yield {"metric": "auroc", "class": label, "value": _number(auroc)}
    rest = metrics.keys() - {*SCORE_NAMES, "auroc_per_class", "undefined_classes"}
    yield from _numbers({name: metrics[name] for name in rest})


def _cka_rows(metrics: list[dict[str, Any]]) -> Iterator[TidyRow]:
    for row in metrics:
        for name, suffix in CKA_NAMES.items():
            yield {
                "fraction": float(row["fraction"]),
                "block": int(row["block"]),
                "metric": f"cka_{row['kernel']}{suffix}",
                "value": _number(row[name]),
            }


def _ks_rows(metrics: list[dict[str, Any]]) -> Iterator[TidyRow]:
    for row in metrics:
        fraction = float(row["fraction"])
        yield {"fraction": fraction, "metric": "ks", "value": _number(row["mean"])}
        for label, distance in row["per_class"].items():
            yield {"fraction": fraction, "metric": "ks", "class": label, "value": _number(distance)}


def _numbers(metrics: dict[str, Any]) -> Iterator[TidyRow]:
    for name, value in sorted(metrics.items()):
        yield {"metric": name, "value": _number(value)}


def _number(value: float | bool | None) -> float | None:
    return None if value is None else float(value)
