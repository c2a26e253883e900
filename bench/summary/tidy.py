"""The tidy table of every number of a run: one row per cell and metric, as in reports/results.csv."""

from typing import Any

import pandas as pd

from bench.protocol.cell import Cell
from bench.protocol.label_columns import LABEL_COLUMNS, label_columns, labels_in

# The columns of reports/results.csv, in their order.
COLUMNS: dict[str, str] = {
    "dataset": "id of the data set",
    "method": "id of the method",
    "seed": "of the run",
    "evaluation": "pretrain, finetune (all weights), frozen (a linear classifier on the frozen encoder), "
    "probe (the same on each block, with all labels), reuse (CKA before and after fine-tuning), "
    "ks (distance of the outputs to those at all labels)",
    "fraction": "share of the labelled training images; empty for pretrain and probe, and where a number of "
    "labels per class was asked for",
    "labels_per_class": "that number of labelled training images with each class (k-shot); otherwise empty",
    "block": "of the encoder, 1 to 4; empty where the whole encoder is meant",
    "class": "the class that the value is about; empty where it is about all of them",
    "metric": "what was measured; empty in the one row of a cell without results",
    "value": "the number; empty where the metric is undefined or the cell has no results",
    "status": "of the cell: done, missing, failed, stale (of other settings, code or data), damaged",
}

# One value of a cell: what identifies it within the cell, and the number.
TidyRow = dict[str, Any]
# Its keys but the label set's, and what stands for one that is not there.
IN_ROW: dict[str, Any] = {"block": None, "class": "", "metric": "", "value": None}
LABEL_KEYS = set(LABEL_COLUMNS)
ROW_KEYS = LABEL_KEYS.union(IN_ROW)


def tidy_table(rows: dict[Cell, list[TidyRow]], statuses: dict[Cell, str]) -> pd.DataFrame:
    """The tidy table of all cells, in the order of the statuses.

    Args:
        rows: values of the cells that have results.
        statuses: of every cell of the protocol.
    """
    # Column by column: a large run has a million rows, and a dictionary for each would take half of the time.
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for cell, status in statuses.items():
        of_cell = rows.get(cell, [{}])
        of_all = label_columns(cell.labels)
        labels = [_labels_of(row, cell) if row.keys() & LABEL_KEYS else of_all for row in of_cell]
        once = {
            "dataset": cell.dataset,
            "method": cell.method,
            "seed": cell.seed,
            "evaluation": cell.stage,
            "status": status,
        }
        for name, value in once.items():
            columns[name] += [value] * len(of_cell)
        for name in LABEL_COLUMNS:
            columns[name] += [of_row[name] for of_row in labels]
        for name, nothing in IN_ROW.items():
            columns[name] += [row.get(name, nothing) for row in of_cell]
    table = pd.DataFrame(columns)
    types: dict[Any, str] = {
        "fraction": "float64",
        "labels_per_class": "Int64",
        "block": "Int64",
        "value": "float64",
    }
    return table.astype(types)


def none_for_missing(table: pd.DataFrame) -> pd.DataFrame:
    """A table of plain objects, with None in the place of what is missing."""
    return table.astype(object).where(table.notna(), None)


def _labels_of(row: TidyRow, cell: Cell) -> dict[str, float | int | None]:
    return label_columns(labels_in(row) or cell.labels)


def checked_rows(content: Any) -> list[TidyRow]:
    """The numbers in a cell's metrics.json.

    Args:
        content: what the file holds.

    Raises:
        ValueError: it is not a list of numbers with names, see bench.cells.scores.
    """
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError("it is not a list of rows")
    for row in content:
        value = row.get("value")
        is_number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        if not isinstance(row.get("metric"), str) or not is_number or row.keys() - ROW_KEYS:
            raise ValueError(f"not a number with a name: {row}")
    return content


def has_results(table: pd.DataFrame) -> bool:
    """Whether a cell of a tidy table is finished."""
    return bool((table["status"] == "done").any())
