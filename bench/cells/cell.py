"""Cells: the smallest pieces of a run that are computed, kept and reused on their own.

A cell's key is a hash of everything that decides its numbers: code, parameters, seed, the data set's
content, and the keys of the cells it builds on. Equal keys mean equal numbers, so a finished cell is found
again after a kill, a longer list of seeds, or a change that does not concern it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from bench.cells.files import stage_folder
from bench.protocol.protocol import Protocol

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


def cell_path(cell: Cell) -> Path:
    """Folder of a cell's results."""
    return _stage_folder(cell.stage, cell.dataset, cell.method) / cell.folder


# A large run has some fifty cells in each.
_stage_folder = cache(stage_folder)


def evaluation_of(cell: Cell) -> str:
    """What the column ``evaluation`` calls a cell."""
    return "frozen" if cell.mode == "frozen" else cell.stage
