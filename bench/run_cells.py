"""Run the cells of one stage: reuse what is in the store, compute the rest, lay out the stage's output."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import store
from bench.cells import Cell, Keys, Mode, Stage, cells_of
from bench.estimate import Estimate
from bench.progress import OnProgress, RunProgress
from bench.protocol import Protocol
from bench.provenance import provenance
from bench.results import CellRecord, read_record, stage_folder
from imssl.errors import Diverged

# Writes a cell's files into a folder and returns the name of the device that computed them.
Compute = Callable[[Cell, str, Path, OnProgress], str]


def run_cells(stage: Stage, dataset: str, method: str, protocol: Protocol, compute: Compute) -> None:
    """Bring a stage's output folder to what the protocol asks for.

    A cell that fails for a documented reason (a diverged loss) is kept as failed: the other cells still run
    and the report shows the hole.
    """
    keys = Keys(protocol)
    cells = cells_of(stage, dataset, method, protocol)
    progress = RunProgress(Estimate(protocol, keys), cells, f"{stage} {dataset} {method}")
    with progress.shown():
        for cell in cells:
            if store.finished(cell, keys.key(cell)):
                progress.reused(cell)
            else:
                _compute(cell, keys.key(cell), compute, progress)
    output = stage_folder(stage, dataset, method)
    shutil.rmtree(output, ignore_errors=True)
    for cell in cells:
        store.copy_out(cell, keys.key(cell), output / cell.folder)


def upstream_folder(stage: Stage, cell: Cell, fraction: float | None = None) -> Path:
    """Where an earlier stage left the cell that this one builds on.

    Raises:
        Diverged: that cell has failed, and so does this one.
    """
    mode: Mode | None = None if fraction is None else "full"
    source = Cell(stage, cell.dataset, cell.method, cell.seed, fraction, mode)
    folder = stage_folder(stage, cell.dataset, cell.method) / source.folder
    record = read_record(folder)
    if record is not None and record.status == "failed":
        raise Diverged(f"{source.title} failed: {record.reason}")
    return folder


def _compute(cell: Cell, key: str, compute: Compute, progress: RunProgress) -> CellRecord:
    on_progress = progress.running(cell)
    started, clock = datetime.now(UTC), time.monotonic()
    failure, device = None, "none"
    with store.writing(cell, key) as folder:
        try:
            device = compute(cell, key, folder, on_progress)
        except Diverged as error:
            failure = str(error)
            for file in folder.iterdir():
                file.unlink()
        seconds = time.monotonic() - clock
        origin = provenance(started, seconds, device, f"dvc repro {cell.stage}@{cell.dataset}-{cell.method}")
        record = store.keep(folder, cell, key, origin, failure)
    progress.finished(cell, seconds, failure)
    return record
