"""What stands behind each number: the runs, where they come from, and the command that makes them again."""

from typing import Any

import pandas as pd

from bench.cells.files import HISTORY_FILE
from bench.cells.records import Provenance
from bench.protocol.cell import Cell
from bench.protocol.label_columns import labels_in
from bench.protocol.stage_specs import CELL_STAGES, STAGES, Stage
from bench.report.layout import EVALUATION_NAMES, METRIC_NAMES
from bench.report.pages.background import data_card
from bench.report.pages.settings import method_settings, written_facts
from bench.summary.read import CellState
from bench.summary.summary import Summary

# Enough of a cell's key to name its folder.
KEY_LENGTH = 16


class Origins:
    """The different combinations of code, machine and packages, each named by its place in a list."""

    def __init__(self) -> None:
        self.listed: list[dict[str, str]] = []
        self._places: dict[tuple[object, ...], int] = {}

    def place(self, origin: Provenance) -> int:
        """Place of an origin; a new one is added."""
        of_machine = (origin.device, origin.python, *sorted(origin.packages.items()))
        name = (origin.commit, origin.clean, origin.weights, *of_machine)
        if name not in self._places:
            self._places[name] = len(self.listed)
            self.listed.append(origin_words(origin))
        return self._places[name]


def origin_words(origin: Provenance) -> dict[str, str]:
    """An origin as a reader sees it."""
    packages = [f"Python {origin.python}"]
    packages += [f"{name} {version}" for name, version in sorted(origin.packages.items())]
    return {
        "commit": (origin.commit or "")[:12] or "no repository",
        "revision": origin.commit or "",
        "clean": {True: "clean", False: "with uncommitted changes", None: "unknown"}[origin.clean],
        "device": origin.device,
        "packages": ", ".join(packages),
    } | ({"weights": origin.weights} if origin.weights else {})


def cell_details(summary: Summary) -> dict[str, Any]:
    """What the page's script shows when a number is clicked.

    Returns:
        ``origins``; ``metrics``: the primary metric by data set; ``per_dataset``: stages that DVC runs once
        for a data set; ``methods``: parameters by method; ``datasets``: the facts of each data card;
        ``folders``: by label set, what follows the seed in a cell's name; ``files``: by stage those with
        predictions, for the probes by block, and with curves; ``cells``: by stage, data set, method and label
        set a list of runs, each as [seed, status, started, seconds, place in origins, key, score]: of the
        primary metric, or for the probes by block. Runs without a record have the first two only.
    """
    origins, scores = Origins(), _scores_by_cell(summary)
    cells: dict[str, Any] = {}
    for cell, state in summary.results.states.items():
        place = "" if cell.labels is None else cell.labels.id
        of_dataset = cells.setdefault(cell.stage, {}).setdefault(cell.dataset, {})
        of_dataset.setdefault(cell.method, {}).setdefault(place, []).append(
            _run(cell, state, origins, scores.get(cell))
        )
    protocol = summary.protocol
    return {
        "origins": origins.listed,
        "metrics": {dataset: METRIC_NAMES[summary.primary(dataset)] for dataset in summary.results.cards},
        "per_dataset": [stage for stage, spec in STAGES.items() if spec.runs == "dataset"],
        "cells": cells,
        "folders": {labels.id: f"/{labels.folder}" for labels in protocol.label_sets},
        "files": {stage: _files_of(stage) for stage in CELL_STAGES},
        "methods": {name: written_facts(settings) for name, settings in method_settings(protocol).items()},
        "datasets": {
            name: (card := data_card(name, summary.results)).facts + card.checksums
            for name in protocol.datasets
        },
    }


def _files_of(stage: Stage) -> dict[str, str]:
    """Files of a stage's cells that a reader may want to see: predictions, and training curves."""
    of_blocks = STAGES[stage].predictions or {}
    files = {
        "predictions" if block is None else f"predictions {block}": file for block, file in of_blocks.items()
    }
    return files | ({"curves": HISTORY_FILE} if stage in ("pretrain", "finetune") else {})


def _scores_by_cell(summary: Summary) -> dict[Cell, float | dict[str, float]]:
    """The primary metric of each cell that has predictions; for the probes by block."""
    scores: dict[Cell, Any] = {}
    table = summary.results.table
    table = table[(table["class"] == "") & table["evaluation"].isin(EVALUATION_NAMES)]
    for dataset, rows in table.groupby("dataset", sort=False):
        primary = rows[(rows["metric"] == summary.primary(str(dataset))) & rows["value"].notna()]
        for row in primary.to_dict("records"):
            record = {str(name): value for name, value in row.items()}
            labels = labels_in(record) if STAGES[record["evaluation"]].per_label_set else None
            cell = Cell(record["evaluation"], str(dataset), record["method"], record["seed"], labels)
            if pd.isna(record["block"]):
                scores[cell] = record["value"]
            else:
                scores.setdefault(cell, {})[f"{record['block']:.0f}"] = record["value"]
    return scores


def _run(cell: Cell, state: CellState, origins: Origins, score: float | dict[str, float] | None) -> list[Any]:
    status = state.status if state.status == "done" else f"{state.status}: {state.reason}"
    if state.record is None:
        return [cell.seed, status]
    origin = state.record.provenance
    key = state.record.key[:KEY_LENGTH]
    return [cell.seed, status, origin.started, origin.seconds, origins.place(origin), key, score]
