"""The keys of a protocol's cells: a hash of everything that decides their numbers."""

import hashlib
import json
from typing import Any

from bench.cells.cell import Cell, Mode, Stage, cells_of
from bench.cells.files import data_folder
from bench.cells.fingerprints import digest, method_fingerprint, stage_fingerprint
from bench.cells.records import SCHEMA_VERSION
from bench.protocol.protocol import Protocol, values
from bench.protocol.registry import load_method
from imssl.datasets.prepared import read_card


class Keys:
    """The keys of a protocol's cells."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._keys: dict[Cell, str] = {}
        self._settings: dict[tuple[Stage, str, Mode | None], dict[str, Any]] = {}
        self._method_contents: dict[str, dict[str, Any]] = {}
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
        key = (cell.stage, cell.dataset, cell.mode)
        if key not in self._settings:
            code = digest(stage_fingerprint(cell.stage))
            self._settings[key] = self._parameters(cell) | {"code": code}
        return self._settings[key]

    def _parameters(self, cell: Cell) -> dict[str, Any]:
        protocol = self.protocol
        if cell.stage == "pretrain":
            return {
                "encoder": values(protocol.encoder),
                "pretrain": values(protocol.pretrain),
                "augmentation": values(protocol.views_of(cell.dataset, protocol.augmentation)),
                "hardware": values(protocol.hardware),
            }
        if cell.stage == "finetune" and cell.mode == "frozen":
            return {"linear": values(protocol.linear)}
        if cell.stage == "finetune":
            return {
                "finetune": values(protocol.finetune),
                "augmentation": values(protocol.views_of(cell.dataset, protocol.finetune_augmentation)),
                "stored_features": protocol.reuse.samples,
            }
        if cell.stage == "probe":
            return {"probe": values(protocol.probe)}
        return {"reuse": values(protocol.reuse)} if cell.stage == "reuse" else {}

    def _inputs(self, cell: Cell) -> dict[str, Any]:
        """What the cell reads: the data set and the method, or the cells before it."""
        if cell.stage == "pretrain":
            return {"data": self._data(cell.dataset), "method": self._method(cell.method)}
        if cell.stage in ("finetune", "probe"):
            return {"pretrained": self._upstream("pretrain", cell)}
        return {"finetuned": self._upstream("finetune", cell)}

    def _upstream(self, stage: Stage, cell: Cell) -> list[str]:
        upstream = cells_of(stage, cell.dataset, cell.method, self.protocol)
        return [self.key(other) for other in upstream if other.seed == cell.seed and other.mode != "frozen"]

    def _method(self, method: str) -> dict[str, Any]:
        if method not in self._method_contents:
            self._method_contents[method] = {
                "settings": values(load_method(method, self.protocol).settings),
                "code": digest(method_fingerprint(method, self.protocol)),
            }
        return self._method_contents[method]

    def _data(self, dataset: str) -> dict[str, Any]:
        if dataset not in self._data_contents:
            # What a number can depend on beside the files: how labels are judged and images normalised.
            used = {"checksums", "task", "classes", "primary_metric", "channel_mean", "channel_std"}
            card = read_card(data_folder(dataset))
            self._data_contents[dataset] = card.model_dump(mode="json", include=used)
        return self._data_contents[dataset]
