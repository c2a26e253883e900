"""Run the cells of one stage: reuse what is in the store, compute the rest, lay out the stage's output."""

from collections.abc import Sequence
from importlib import import_module

from bench.cells import store
from bench.cells.keys import Keys
from bench.forecast.estimate import RunEstimate
from bench.forecast.outlook import read_outlook
from bench.forecast.progress import RunProgress
from bench.launch.engines.engine import Engine
from bench.launch.engines.fill import CellProgress, Outcome, fill
from bench.launch.engines.local import InThisProcess, LocalEngine
from bench.launch.lay_out import lay_out, outputs_of, refuse_links
from bench.machine.gpus import devices_of, offered_gpus
from bench.machine.system import start_method
from bench.machine.workers import cells_at_once
from bench.protocol.cell import Cell, cells_of
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES, Stage
from imssl.errors import Stopped, UserError


def run_cells(stage: Stage, dataset: str, methods: Sequence[str], protocol: Protocol) -> None:
    """Bring a stage's output on one data set to what the protocol asks for.

    A cell that fails for a documented reason (a diverged loss) is kept as failed: the other cells still run
    and the report shows the hole.

    Args:
        stage: of the pipeline.
        dataset: id.
        methods: ids: one, or all where DVC runs the stage once for a data set.
        protocol: decides the cells.

    Raises:
        UserError: a cell could not be computed; the others are kept.
        Stopped: SIGTERM came.
    """
    keys = Keys(protocol)
    cells = [cell for method in methods for cell in cells_of(stage, dataset, method, protocol)]
    refuse_links(outputs_of(cells))
    outlook = read_outlook()
    estimate = RunEstimate(keys, cells, rate=outlook.rate(stage))
    progress = RunProgress(estimate, outlook, cells[0].dvc_stage)
    missing = [cell for cell in cells if not store.finished(cell, keys.key(cell))]
    to_compute = set(missing)
    for cell in cells:
        if cell not in to_compute:
            progress.reused(cell)
    if missing:
        engine = local_engine(missing, keys, progress)
        try:
            with progress.shown():
                outcome = fill(missing, keys, estimate, engine, progress)
        finally:
            engine.close()
        _refuse_holes(outcome)
    lay_out(cells, keys)
    progress.stage_ended()


def local_engine(
    missing: Sequence[Cell],
    keys: Keys,
    progress: CellProgress,
    workers: int | None = None,
    cells_per_gpu: int | None = None,
) -> Engine:
    """An engine for some cells on this machine; what it forks has imported what the cells need.

    Args:
        missing: cells.
        keys: of the protocol's cells.
        progress: what is reported of them goes there.
        workers: cells side by side; None for as many as there is room for.
        cells_per_gpu: how many share a GPU; None for as many as suit the size of the images.
    """
    for stage in {cell.stage for cell in missing}:
        import_module(f"bench.stages.{stage}")
    image_size = _image_size_on_gpu(missing, keys.protocol)
    hardware = keys.protocol.hardware
    # Processes that pretrain together take the processors, or the GPUs, of as many cells.
    devices = max(devices_of(cell, hardware) for cell in missing)
    gpus = offered_gpus() if image_size is not None else ()
    threads, shares = hardware.threads * devices, max(1, len(gpus) // devices)
    count = workers or cells_at_once(threads, len(missing), image_size, shares, cells_per_gpu)
    if count == 1 and len({(cell.stage, cell.method) for cell in missing if cell.stage == "pretrain"}) < 2:
        return InThisProcess(keys, progress.running)
    return LocalEngine(keys, count, start_method(), gpus)


def _refuse_holes(outcome: Outcome) -> None:
    if outcome.failed:
        others = f"\n({len(outcome.done)} others are kept.)" if outcome.done else ""
        titles: dict[str, list[str]] = {}  # what stops one cell often stops others in the same way
        for cell, why in outcome.failed.items():
            titles.setdefault(why, []).append(cell.title)
        raise UserError("\n".join(f"{', '.join(of)}: {why}" for why, of in titles.items()) + others)
    if outcome.outdated:
        raise UserError(outcome.outdated)
    if outcome.stopped:
        raise Stopped


def _image_size_on_gpu(missing: Sequence[Cell], protocol: Protocol) -> int | None:
    """Pixels a side of the largest images that cells compute with on a GPU; None where none does."""
    on_device = {cell.dataset for cell in missing if STAGES[cell.stage].on_device}
    if on_device:
        from imssl.device import select_device

        if select_device(protocol.hardware).type == "cuda":
            return max(protocol.datasets[dataset].size for dataset in on_device)
    return None
