"""In what two checkouts differ that decides a cell, named so that a person can act on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cells.files import INPUTS, data_folder, read_json
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES
from bench.stages.inputs import input_contents
from imssl.datasets.prepared import read_card
from imssl.errors import UserError

# A message names at most so many differences of one cell.
MOST_NAMED = 4


class Differences:
    """Why cells of another checkout have other keys than those of this one.

    Args:
        protocol: of this checkout.
        other: folder of the other one, with its `results/inputs` and data cards.
    """

    def __init__(self, protocol: Protocol, other: Path) -> None:
        self.protocol, self.other = protocol, other
        self._here = input_contents(protocol)

    def of(self, cell: Cell) -> str:
        """What differs in what decides a cell, in words; it says so where that is not known."""
        of_files = [difference for name in _names(cell) for difference in self._of_file(name)]
        differences = of_files + self._of_data(cell.dataset)
        if not differences:
            return "other settings, code or data, of which its results/inputs say nothing"
        more = f", and {len(differences) - MOST_NAMED} more" if len(differences) > MOST_NAMED else ""
        return "; ".join(differences[:MOST_NAMED]) + more

    def _of_file(self, name: str) -> Iterator[str]:
        file = self.other / INPUTS / f"{name}.json"
        if not file.is_file():
            return
        try:
            there = read_json(file)
        except UserError:
            return
        if not isinstance(there, dict):
            return
        for part, words in (("settings", ""), ("code", "code of ")):
            for path, ours, theirs in different_values(self._here[name].get(part), there.get(part)):
                if part == "code":
                    yield f"{words}{path}"
                elif path.split(".")[0] not in ("seeds", "label_sets", "methods"):  # which cells, not how
                    yield f"{path}: {ours} here, {theirs} there"

    def _of_data(self, dataset: str) -> list[str]:
        try:
            ours, theirs = (read_card(root / data_folder(dataset)).checksums for root in (Path(), self.other))
        except UserError:
            return []
        return [f"data/{dataset}/{name} has other content" for name in ours if ours[name] != theirs.get(name)]


def different_values(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two nested mappings differ: the path of keys, joined by dots, and both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys(), key=str):
            inner = f"{path}.{key}" if path else str(key)
            yield from different_values(ours.get(key), theirs.get(key), inner)
    elif ours != theirs:
        yield path, ours, theirs


def _names(cell: Cell) -> list[str]:
    """The files of `results/inputs` that decide a cell, those of what it builds on first."""
    names: list[str] = []
    waiting = [cell.stage]
    while waiting:
        stage = waiting.pop()
        names.insert(0, f"{stage}-{cell.dataset}")
        waiting += STAGES[stage].builds_on
    return [f"method-{cell.method}", *dict.fromkeys(names)]
