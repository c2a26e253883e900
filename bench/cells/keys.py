"""The keys of a protocol's cells: equal keys mean equal numbers.

A cell's key is a hash of everything that decides its numbers: code, parameters, seed, the data set's
content, and the keys of the cells it builds on. So a finished cell is found again after a kill, a longer list
of seeds, or a change that does not concern it.
"""

import hashlib
import json
from typing import Any

from bench.cells.files import data_folder
from bench.cells.fingerprints import digest, method_fingerprint, stage_fingerprint
from bench.cells.method_facts import MethodFacts, method_facts
from bench.cells.records import SCHEMA_VERSION
from bench.protocol.cell import Cell, built_on
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES, Stage
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

    def key(self, cell: Cell) -> str:
        """The cell's key.

        Raises:
            UserError: the data set is not prepared yet.
        """
        if cell not in self._keys:
            content = {
                "schema": SCHEMA_VERSION,
                **vars(cell),
                **self._settings_of(cell),
                **self._inputs(cell),
            }
            text = json.dumps(content, sort_keys=True)
            self._keys[cell] = hashlib.sha256(text.encode()).hexdigest()
        return self._keys[cell]

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

    def _method(self, cell: Cell) -> dict[str, Any]:
        if self._facts is None:
            self._facts = method_facts(self.protocol)
            self._codes = {
                method: digest(method_fingerprint(method, self.protocol)) for method in self.protocol.methods
            }
        facts = self._facts[cell.method]
        return {
            "settings": facts.settings_on(cell.dataset),
            "optimisation": facts.optimisation,
            "code": self._codes[cell.method],
        }

    def _data(self, dataset: str) -> dict[str, Any]:
        if dataset not in self._data_contents:
            # What a number can depend on beside the files: how labels are judged and images normalised.
            used = {"checksums", "task", "classes", "primary_metric", "channel_mean", "channel_std"}
            card = read_card(data_folder(dataset))
            self._data_contents[dataset] = card.model_dump(mode="json", include=used)
        return self._data_contents[dataset]
