"""What ``dvc repro`` will run for a method, and about how long: in cells, from those already measured."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.cells.fingerprints import method_fingerprint
from bench.cells.keys import Keys
from bench.forecast.estimate import RunEstimate
from bench.forecast.plan import at_once_here, longest_worker, overhead_of
from bench.protocol.cell import Cell, cells_of
from bench.protocol.protocol import Protocol
from bench.protocol.registry import method_file
from bench.protocol.stage_specs import CELL_STAGES

REFERENCE_FILE = "moco.py"


@dataclass(frozen=True)
class StageCells:
    """Cells of one stage that are to run.

    Attributes:
        stage: of the pipeline.
        cells: how many.
        seconds: that they take, side by side.
    """

    stage: str
    cells: int
    seconds: float


@dataclass(frozen=True)
class MethodPlan:
    """What a method has still to run.

    Attributes:
        stages: with at least one cell to run, in the pipeline's order.
        reused: cells of the method that are finished already.
        others: missing cells of other methods, which ``dvc repro`` runs as well.
        at_once: cells that run side by side.
        overhead: seconds of starts, DVC and the report.
        measured: whether the seconds come from finished cells; otherwise they are a guess.
    """

    stages: tuple[StageCells, ...]
    reused: int
    others: int
    at_once: int
    overhead: float
    measured: bool

    @property
    def cells(self) -> int:
        """In all."""
        return sum(stage.cells for stage in self.stages)

    @property
    def seconds(self) -> float:
        """From start to end."""
        return sum(stage.seconds for stage in self.stages) + self.overhead


def method_plan(name: str, protocol: Protocol, speed_ratio: float | None) -> MethodPlan:
    """What one method of the protocol has still to run.

    Args:
        name: its id.
        protocol: with the method in it.
        speed_ratio: seconds of its training step over those of ``moco``; None where not measured.
    """
    estimate = RunEstimate(Keys(protocol))
    of_method = [cell for cell in estimate.cells if cell.method == name]
    missing = [cell for cell in of_method if not estimate.is_done(cell)]
    at_once = at_once_here(protocol, max(2, len(protocol.seeds)))
    stages, running = [], 0
    for stage in CELL_STAGES:
        seconds = [
            [
                _seconds(cell, estimate, speed_ratio)
                for cell in missing
                if (cell.stage, cell.dataset) == (stage, dataset)
            ]
            for dataset in protocol.datasets
        ]
        running += sum(map(bool, seconds))
        if any(seconds):
            together = sum(longest_worker(of_dataset, at_once) for of_dataset in seconds)
            stages.append(StageCells(stage, sum(map(len, seconds)), together))
    return MethodPlan(
        stages=tuple(stages),
        reused=len(of_method) - len(missing),
        others=sum(not estimate.is_done(cell) for cell in estimate.cells if cell.method != name),
        at_once=at_once,
        overhead=overhead_of(running, protocol),
        measured=any(map(estimate.is_done, estimate.cells)),
    )


def done_and_all(name: str, estimate: RunEstimate) -> tuple[int, int]:
    """How many cells of a method are finished, and how many it has."""
    cells = [cell for cell in estimate.cells if cell.method == name]
    return sum(map(estimate.is_done, cells)), len(cells)


def finished_cells_of(file: Path, protocol: Protocol) -> Counter[str]:
    """Finished cells, by method, whose numbers depend on a method file; a new content makes them stale."""
    estimate = RunEstimate(Keys(protocol))
    name = f"imssl/methods/{file.name}"  # as fingerprints note it, wherever it lies
    users = [method for method in protocol.methods if name in method_fingerprint(method, protocol)]
    return Counter(cell.method for cell in estimate.cells if cell.method in users and estimate.is_done(cell))


def _seconds(cell: Cell, estimate: RunEstimate, speed_ratio: float | None) -> float:
    """Pretraining by the reference's seconds and the measured ratio; the other stages know no method."""
    if cell.stage != "pretrain" or speed_ratio is None:
        return estimate.seconds(cell)
    protocol = estimate.protocol
    references = [name for name in protocol.methods if method_file(name, protocol).name == REFERENCE_FILE]
    measured = [
        estimate.seconds(other)
        for name in references
        for other in cells_of("pretrain", cell.dataset, name, protocol)
        if estimate.is_done(other)
    ]
    base = sum(measured) / len(measured) if measured else estimate.seconds(cell)
    return base * speed_ratio
