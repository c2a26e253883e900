"""Cells: the smallest pieces of a run that are computed, kept and reused on their own.

A cell's key is a hash of everything that decides its numbers: code, parameters, seed, the data set's
content, and the keys of the cells it builds on. Equal keys mean equal numbers, so a finished cell is found
again after a kill, a longer list of seeds, or a change that does not concern it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bench.code import digest, method_fingerprint, stage_fingerprint
from bench.protocol import Protocol, values
from bench.registry import load_method
from bench.results import SCHEMA_VERSION, data_folder
from imssl.datasets.prepared import read_card

Stage = Literal["data", "pretrain", "finetune", "probe", "reuse", "ks"]
Mode = Literal["full", "frozen"]

# Stages whose cells are one per data set, method and seed, in the order of the pipeline.
CELL_STAGES: tuple[Stage, ...] = ("pretrain", "finetune", "probe", "reuse", "ks")


@dataclass(frozen=True)
class Cell:
    """One piece of a run.

    Attributes:
        stage: of the pipeline.
        dataset: its id.
        method: its id.
        seed: of the run.
        fraction: share of the labels, for fine-tuning only.
        mode: all weights or a linear classifier on the frozen encoder, for fine-tuning only.
    """

    stage: Stage
    dataset: str
    method: str
    seed: int
    fraction: float | None = None
    mode: Mode | None = None

    @property
    def folder(self) -> str:
        """Folder of the cell's results inside its stage's output."""
        if self.fraction is None:
            return f"seed-{self.seed}"
        return f"seed-{self.seed}/fraction-{self.fraction:g}-{self.mode}"

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        part = "" if self.fraction is None else f" {self.fraction:.3g} {self.mode}"
        return f"{self.stage} {self.dataset} {self.method} seed {self.seed}{part}"


def cells_of(stage: Stage, dataset: str, method: str, protocol: Protocol) -> list[Cell]:
    """The cells of one DVC stage, in the order in which they run."""
    if stage != "finetune":
        return [Cell(stage, dataset, method, seed) for seed in protocol.seeds]
    return [
        Cell(stage, dataset, method, seed, fraction, mode)
        for seed in protocol.seeds
        for fraction in protocol.label_fractions
        for mode in ("full", "frozen")
    ]


def all_cells(protocol: Protocol) -> Iterator[Cell]:
    """Every cell of the protocol; the report and the progress count these and never what lies on disk."""
    for stage in CELL_STAGES:
        for dataset in protocol.datasets:
            for method in protocol.methods:
                yield from cells_of(stage, dataset, method, protocol)


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
