"""The keys of a protocol's cells: equal keys mean equal numbers.

A cell's key is a hash of everything that decides its numbers: code, parameters, seed, the data set's
content, and the keys of the cells it builds on. So a finished cell is found again after a kill, a longer list
of seeds, or a change that does not concern it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from bench.cells.files import data_folder
from bench.cells.fingerprints import digest, method_fingerprint, source_file, stage_fingerprint
from bench.cells.method_facts import MethodFacts, method_facts
from bench.cells.records import SCHEMA_VERSION
from bench.protocol.cell import Cell, built_on
from bench.protocol.label_columns import label_column
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES, Stage
from bench.protocol.starting_points import starting_point
from imssl.datasets.prepared import read_card


class Keys:
    """The keys of a protocol's cells."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._keys: dict[Cell, str] = {}
        self._settings: dict[tuple[Stage, str], dict[str, Any]] = {}
        self._facts: dict[str, MethodFacts] | None = None
        self._codes: dict[str, str] = {}
        self._data_contents: dict[str, dict[str, Any]] = {}
        self._weights: dict[tuple[str, str], str | None] = {}

    def key(self, cell: Cell) -> str:
        """The cell's key.

        Raises:
            UserError: the data set is not prepared yet.
        """
        if cell not in self._keys:
            content = {
                "schema": SCHEMA_VERSION,
                **_identity(cell),
                **self._settings_of(cell),
                **self._inputs(cell),
            }
            text = json.dumps(content, sort_keys=True)
            self._keys[cell] = hashlib.sha256(text.encode()).hexdigest()
        return self._keys[cell]

    def weights(self, cell: Cell) -> str | None:
        """SHA-256, as in the key, of the file that the encoder starts from; None for random weights."""
        place = (cell.method, cell.dataset)
        if place not in self._weights:
            start = starting_point(*place, self.protocol, self._facts_of(cell.method).from_scratch)
            self._weights[place] = start.sha256 if start else None
        return self._weights[place]

    def sources(self, cell: Cell) -> list[Path]:
        """The source files that decide the cell's numbers, besides those of the cells that it builds on."""
        fingerprint = stage_fingerprint(cell.stage)
        if not STAGES[cell.stage].builds_on:
            fingerprint = fingerprint | method_fingerprint(cell.method, self.protocol)
        return [source_file(name) for name in fingerprint]

    def _settings_of(self, cell: Cell) -> dict[str, Any]:
        """Code and parameters, which all methods and seeds share."""
        place = (cell.stage, cell.dataset)
        if place not in self._settings:
            settings = STAGES[cell.stage].settings(self.protocol, cell.dataset)
            self._settings[place] = settings | {"code": digest(stage_fingerprint(cell.stage))}
        return self._settings[place]

    def _inputs(self, cell: Cell) -> dict[str, Any]:
        """What the cell reads: the cells before it, or the data set and the method."""
        earlier = built_on(cell, self.protocol)
        if earlier:
            return {"builds_on": [self.key(other) for other in earlier]}
        # Two rows of one file with equal settings are two rows: neither takes the other's cells.
        return {"data": self._data(cell.dataset), "method_content": self._method(cell)}

    def _facts_of(self, method: str) -> MethodFacts:
        if self._facts is None:
            self._facts = method_facts(self.protocol)
        return self._facts[method]

    def _method(self, cell: Cell) -> dict[str, Any]:
        facts = self._facts_of(cell.method)
        if cell.method not in self._codes:
            self._codes[cell.method] = digest(method_fingerprint(cell.method, self.protocol))
        content = {
            "settings": facts.settings_on(cell.dataset),
            "optimisation": facts.optimisation,
            "code": self._codes[cell.method],
        }
        weights = self.weights(cell)
        # Of a random encoder the seed says it all.
        return content if weights is None else content | {"starts_from": weights}

    def _data(self, dataset: str) -> dict[str, Any]:
        if dataset not in self._data_contents:
            # What a number can depend on beside the files: how labels are judged and images normalised.
            used = {"checksums", "task", "classes", "primary_metric", "channel_mean", "channel_std"}
            card = read_card(data_folder(dataset))
            self._data_contents[dataset] = card.model_dump(mode="json", include=used)
        return self._data_contents[dataset]


def _identity(cell: Cell) -> dict[str, Any]:
    """Which cell of the protocol it is; a share of the labels has the key that it had before k-shot."""
    plain = {name: value for name, value in vars(cell).items() if name != "labels"}
    return plain | {"fraction": None} | label_column(cell.labels)
