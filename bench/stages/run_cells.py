"""Run the cells of one stage: reuse what is in the store, compute the rest, lay out the stage's output."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cells import store
from bench.cells.cell import Cell, Mode, Stage, cells_of
from bench.cells.files import stage_folder
from bench.cells.keys import Keys
from bench.cells.provenance import provenance
from bench.cells.records import read_record
from bench.forecast.estimate import RunEstimate
from bench.forecast.progress import OnProgress, RunProgress
from bench.machine.workers import DONE, cells_at_once, in_this_process, workers
from bench.protocol.protocol import Protocol
from imssl.errors import Diverged, UserError

# Writes a cell's files into a folder and returns the name of the device that computed them.
Compute = Callable[[Cell, str, Path, OnProgress], str]


def run_cells(
    stage: Stage, dataset: str, method: str, protocol: Protocol, compute: Compute, on_gpu: bool = False
) -> None:
    """Bring a stage's output folder to what the protocol asks for.

    A cell that fails for a documented reason (a diverged loss) is kept as failed: the other cells still run
    and the report shows the hole.

    Args:
        stage: of the pipeline.
        dataset: id.
        method: id.
        protocol: decides the cells.
        compute: of one cell.
        on_gpu: whether the cells share a GPU; CUDA must not have started yet, as they run in forks.
    """
    keys = Keys(protocol)
    cells = cells_of(stage, dataset, method, protocol)
    estimate = RunEstimate(protocol, keys)
    progress = RunProgress(estimate, cells, f"{stage} {dataset} {method}")
    missing = [cell for cell in cells if not store.finished(cell, keys.key(cell))]
    # The longest first: a worker that gets one last leaves the others with nothing to do.
    missing.sort(key=estimate.seconds, reverse=True)

    def work(job: int, tell: Callable[[Any], None]) -> tuple[float, str | None]:
        cell = missing[job]
        return _compute(cell, keys.key(cell), compute, _told_at_intervals(tell))

    def tell(job: int, told: Any) -> None:
        progress.running(missing[job], *told)

    size = protocol.datasets[dataset].size if on_gpu else None
    count = cells_at_once(protocol.hardware.threads, len(missing), size)
    jobs = range(len(missing))
    with workers(count, work) if count > 1 else in_this_process(work, tell) as run, progress.shown():
        for cell in cells:
            if cell not in missing:
                progress.reused(cell)
        for job, kind, told in run(jobs):
            if kind == DONE:
                progress.finished(missing[job], *told)
            else:
                progress.running(missing[job], *(told or (0, 1)))
    output = stage_folder(stage, dataset, method)
    shutil.rmtree(output, ignore_errors=True)
    for cell in cells:
        store.copy_out(cell, keys.key(cell), output / cell.folder)


def upstream_folder(stage: Stage, cell: Cell, keys: Keys, fraction: float | None = None) -> Path:
    """Where an earlier stage left the cell that this one builds on.

    Raises:
        Diverged: that cell has failed, and so does this one.
        UserError: it is missing, of other settings, code or data, or not as it was finished. What is built
            on it would be kept under a key that promises something else.
    """
    mode: Mode | None = None if fraction is None else "full"
    source = Cell(stage, cell.dataset, cell.method, cell.seed, fraction, mode)
    folder = stage_folder(stage, cell.dataset, cell.method) / source.folder
    record = read_record(folder)
    if record is None:
        raise UserError(f"{folder} holds no finished cell, and {cell.title} builds on it. Run: dvc repro")
    if record.key != keys.key(source):
        raise UserError(
            f"{folder} was computed under other settings, code or data, and {cell.title} builds on it. "
            "Run: dvc repro"
        )
    if record.status == "failed":
        raise Diverged(f"{source.title} failed: {record.reason}")
    wrong = sorted(name for name, _ in record.files.items() ^ store.file_checksums(folder).items())
    if wrong:
        raise UserError(
            f"{folder / wrong[0]} is not as it was when the cell was finished: it has changed, is missing or "
            f"does not belong there. Delete {folder} and run: dvc repro"
        )
    return folder


def _compute(cell: Cell, key: str, compute: Compute, on_progress: OnProgress) -> tuple[float, str | None]:
    """Compute a cell and keep it; its seconds, and why it failed if it did."""
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
        store.keep(folder, cell, key, origin, failure)
    # Not before: a kill in between would cost the whole cell.
    store.forget_checkpoint(key)
    return seconds, failure


def _told_at_intervals(tell: Callable[[Any], None], seconds: float = 0.1) -> OnProgress:
    last = time.monotonic()

    def on_progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            tell((done, total))

    return on_progress
