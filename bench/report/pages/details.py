"""What stands behind each number: the runs, where they come from, and the command that makes them again."""

import json
from typing import Any

from bench.cells.records import Provenance
from bench.protocol.cell import Cell
from bench.protocol.stage_specs import STAGES
from bench.report.pages.background import data_card, method_settings, written_facts
from bench.summary.read import CellState
from bench.summary.summary import Summary

# Enough of a cell's key to name its folder.
KEY_LENGTH = 16


class Origins:
    """The different combinations of code, machine and packages, each named by its place in a list."""

    def __init__(self) -> None:
        self.listed: list[dict[str, str]] = []
        self._places: dict[str, int] = {}

    def place(self, origin: Provenance) -> int:
        """Place of an origin; a new one is added."""
        words = origin_words(origin)
        name = json.dumps(words, sort_keys=True)
        if name not in self._places:
            self._places[name] = len(self.listed)
            self.listed.append(words)
        return self._places[name]


def origin_words(origin: Provenance) -> dict[str, str]:
    """An origin as a reader sees it."""
    packages = [f"Python {origin.python}"]
    packages += [f"{name} {version}" for name, version in sorted(origin.packages.items())]
    return {
        "commit": (origin.commit or "no repository")[:12],
        "revision": origin.commit or "",
        "clean": {True: "clean", False: "with uncommitted changes", None: "unknown"}[origin.clean],
        "device": origin.device,
        "packages": ", ".join(packages),
    }


def cell_details(summary: Summary) -> dict[str, Any]:
    """What the page's script shows when a number is clicked.

    Returns:
        ``origins``; ``per_dataset``: stages that DVC runs once for a data set; ``methods``: parameters by
        method; ``datasets``: the facts of each data card; ``cells``: by stage, data set, method and fraction
        a list of runs, each as [seed, status, started, seconds, place in origins, key]. Runs without a record
        have the first two only.
    """
    origins = Origins()
    cells: dict[str, Any] = {}
    for cell, state in summary.results.states.items():
        place = "" if cell.fraction is None else f"{cell.fraction:g}"
        of_dataset = cells.setdefault(cell.stage, {}).setdefault(cell.dataset, {})
        of_dataset.setdefault(cell.method, {}).setdefault(place, []).append(_run(cell, state, origins))
    protocol = summary.protocol
    return {
        "origins": origins.listed,
        "per_dataset": [stage for stage, spec in STAGES.items() if spec.runs == "dataset"],
        "cells": cells,
        "methods": {name: written_facts(settings) for name, settings in method_settings(protocol).items()},
        "datasets": {
            name: (card := data_card(name, summary.results)).facts + card.checksums
            for name in protocol.datasets
        },
    }


def _run(cell: Cell, state: CellState, origins: Origins) -> list[Any]:
    status = state.status if state.status == "done" else f"{state.status}: {state.reason}"
    if state.record is None:
        return [cell.seed, status]
    origin = state.record.provenance
    key = state.record.key[:KEY_LENGTH]
    return [cell.seed, status, origin.started, origin.seconds, origins.place(origin), key]
