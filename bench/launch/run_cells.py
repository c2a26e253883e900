"""Run the cells of one stage: reuse what is in the store, compute the rest, lay out the stage's output."""

import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from bench.cells import store
from bench.cells.files import data_folder, stage_folder
from bench.cells.job import Job, OnProgress
from bench.cells.keys import Keys
from bench.cells.records import provenance
from bench.forecast.estimate import RunEstimate
from bench.forecast.outlook import read_outlook
from bench.forecast.progress import RunProgress
from bench.launch.curves import write_curves
from bench.machine.workers import DONE, cells_at_once, in_this_process, workers
from bench.protocol.cell import Cell, cells_of
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES, Stage
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.errors import Diverged


def run_cells(stage: Stage, dataset: str, methods: Sequence[str], protocol: Protocol) -> None:
    """Bring a stage's output on one data set to what the protocol asks for.

    A cell that fails for a documented reason (a diverged loss) is kept as failed: the other cells still run
    and the report shows the hole.

    Args:
        stage: of the pipeline.
        dataset: id.
        methods: ids: one, or all where DVC runs the stage once for a data set.
        protocol: decides the cells.
    """
    keys = Keys(protocol)
    cells = [cell for method in methods for cell in cells_of(stage, dataset, method, protocol)]
    missing = [cell for cell in cells if not store.finished(cell, keys.key(cell))]
    prepared = None
    if missing:
        # Before the workers fork, so that they share it.
        import_module(f"bench.stages.{stage}")
        prepared = read_prepared(data_folder(dataset)) if STAGES[stage].reads_images else None
    outlook = read_outlook()
    estimate = RunEstimate(keys, cells, rate=outlook.rate(stage))
    progress = RunProgress(estimate, outlook, cells[0].dvc_stage)
    # The longest first: a worker that gets one last leaves the others with nothing to do.
    missing.sort(key=estimate.seconds, reverse=True)
    _compute_side_by_side(cells, missing, keys, prepared, progress)
    _lay_out(cells, keys)
    progress.stage_ended()


def _compute_side_by_side(
    cells: list[Cell], missing: list[Cell], keys: Keys, prepared: Prepared | None, progress: RunProgress
) -> None:
    def work(job: int, tell: Callable[[Any], None]) -> tuple[float, str | None]:
        return compute_cell(missing[job], keys, _at_intervals(tell), prepared)

    def tell(job: int, steps: Any) -> None:
        progress.running(missing[job], *steps)

    count = _cells_at_once(missing, keys.protocol)
    with workers(count, work) if count > 1 else in_this_process(work, tell) as run, progress.shown():
        for cell in cells:
            if cell not in missing:
                progress.reused(cell)
        for job, kind, message in run(range(len(missing))):
            if kind == DONE:
                progress.finished(missing[job], *message)
            else:
                progress.running(missing[job], *(message or (0, 1)))


def _cells_at_once(missing: list[Cell], protocol: Protocol) -> int:
    """How many cells run side by side; those that compute nothing on the device do not share a GPU."""
    if not missing:
        return 1
    image_size = None
    if STAGES[missing[0].stage].on_device:
        from imssl.device import select_device

        if select_device(protocol.hardware).type == "cuda":
            image_size = protocol.datasets[missing[0].dataset].size
    return cells_at_once(protocol.hardware.threads, len(missing), image_size)


def compute_cell(
    cell: Cell, keys: Keys, on_progress: OnProgress, prepared: Prepared | None = None
) -> tuple[float, str | None]:
    """Compute one cell into the store.

    Args:
        cell: whose upstream cells are finished.
        keys: of the protocol's cells.
        on_progress: called now and then with steps done and steps in all.
        prepared: its data set, where it has been read already.

    Returns:
        Its seconds, and why it failed for a documented reason; None if it did not.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    key, failure = keys.key(cell), None
    with store.writing(cell, key) as folder:
        job = Job(cell, keys, folder, on_progress, prepared)
        try:
            import_module(f"bench.stages.{cell.stage}").compute(job)
        except Diverged as error:
            failure = str(error)
            for file in folder.iterdir():
                file.unlink()
        seconds = time.monotonic() - clock
        origin = provenance(started, seconds, _device_name(job), f"dvc repro {cell.dvc_stage}")
        store.keep(folder, cell, key, origin, failure)
    # Not before: a kill in between would cost the whole cell.
    store.forget_checkpoint(key)
    return seconds, failure


def _device_name(job: Job) -> str:
    if not STAGES[job.cell.stage].on_device:
        return "CPU"
    from imssl.device import hardware_name

    return hardware_name(job.device)


def _lay_out(cells: list[Cell], keys: Keys) -> None:
    """Copy finished cells from the store to where DVC and the report look for them."""
    outputs = {stage_folder(cell.stage, cell.dataset, _owner(cell)) for cell in cells}
    for output in outputs:
        shutil.rmtree(output, ignore_errors=True)
    for cell in cells:
        store.copy_out(cell, keys.key(cell))
    if cells[0].stage == "pretrain":
        write_curves(cells)


def _owner(cell: Cell) -> str:
    """The method whose output this is alone; empty where all methods share one output."""
    return "" if STAGES[cell.stage].runs == "dataset" else cell.method


def _at_intervals(tell: Callable[[Any], None], seconds: float = 0.1) -> OnProgress:
    last = time.monotonic()

    def on_progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            tell((done, total))

    return on_progress
