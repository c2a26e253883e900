"""Cells: the smallest pieces of a run that are computed, kept and reused on their own.

Nothing here looks at the disk: which cells there are, the protocol alone decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import CELL_STAGES, STAGES, Stage


@dataclass(frozen=True)
class Cell:
    """One piece of a run.

    Attributes:
        stage: of the pipeline; also what results.csv calls the evaluation.
        dataset: its id.
        method: its id.
        seed: of the run.
        fraction: share of the labels; None in stages without one cell per share.
    """

    stage: Stage
    dataset: str
    method: str
    seed: int
    fraction: float | None = None

    @property
    def folder(self) -> str:
        """Folder of the cell's results inside the output of its stage and method."""
        if self.fraction is None:
            return f"seed-{self.seed}"
        return f"seed-{self.seed}/fraction-{self.fraction:g}"

    @property
    def dvc_stage(self) -> str:
        """Name that DVC gives the stage that the cell belongs to."""
        group = self.dataset if STAGES[self.stage].runs == "dataset" else f"{self.dataset}-{self.method}"
        return f"{self.stage}@{group}"

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        share = "" if self.fraction is None else f" {self.fraction:.3g}"
        return f"{self.stage} {self.dataset} {self.method} seed {self.seed}{share}"


def cells_of(stage: Stage, dataset: str, method: str, protocol: Protocol) -> list[Cell]:
    """The cells of one stage, data set and method, in the order in which they run."""
    fractions = protocol.label_fractions if STAGES[stage].per_fraction else [None]
    return [Cell(stage, dataset, method, seed, fraction) for seed in protocol.seeds for fraction in fractions]


def all_cells(protocol: Protocol) -> Iterator[Cell]:
    """Every cell of the protocol; the report and the progress count these and never what lies on disk."""
    for stage in CELL_STAGES:
        for dataset in protocol.datasets:
            for method in protocol.methods:
                yield from cells_of(stage, dataset, method, protocol)


def dvc_stages(protocol: Protocol) -> list[str]:
    """Names of all stages that DVC has for a protocol, in the order of the pipeline."""
    names = []
    for stage, spec in STAGES.items():
        if spec.runs == "once":
            names.append(stage)
        elif spec.runs == "dataset":
            names += [f"{stage}@{dataset}" for dataset in protocol.datasets]
        else:
            names += [f"{stage}@{d}-{m}" for d in protocol.datasets for m in protocol.methods]
    return names


def built_on(cell: Cell, protocol: Protocol) -> list[Cell]:
    """The cells whose files a cell reads: those of the same data set, method and seed in earlier stages."""
    return [
        earlier
        for stage in STAGES[cell.stage].builds_on
        for earlier in cells_of(stage, cell.dataset, cell.method, protocol)
        if earlier.seed == cell.seed
    ]
