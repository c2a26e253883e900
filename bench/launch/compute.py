"""Compute one cell into the store: the one function that a stage and every engine call."""

import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Literal, NamedTuple

from threadpoolctl import threadpool_limits

from bench.cells import store
from bench.cells.job import Job, OnEpoch, OnProgress
from bench.cells.keys import Keys
from bench.cells.records import provenance
from bench.cells.store.held_cells import HeldClaim
from bench.cells.store.running import RunningNote
from bench.machine.failures import machine_failure
from bench.machine.stop import StopRequest, noticing_sigterm
from bench.protocol.cell import Cell
from bench.protocol.source_files.at_start import saved_since_start
from bench.protocol.stage_specs import STAGES
from imssl.datasets.prepared import Prepared
from imssl.errors import Diverged, Stopped, UserError


class SourcesSaved(UserError):
    """A source file of a cell was saved while it was computed: its numbers may be of either code."""


class Ended(NamedTuple):
    """How the computing of a cell ended, as any engine reports it.

    Attributes:
        how: ``done``, also where the cell has failed for a documented reason; ``failed`` for good, as it
            would fail again; ``stopped`` by SIGTERM, its checkpoint kept; ``outdated``, as its code was saved
            in the meantime; ``lost``, where its process was killed.
        message: why it is not done, or the documented reason of its failure; empty where there is none.
        seconds: that it took.
    """

    how: Literal["done", "failed", "stopped", "outdated", "lost"]
    message: str = ""
    seconds: float = 0.0


def attempt_cell(
    cell: Cell,
    keys: Keys,
    on_progress: OnProgress,
    read_images: Callable[[], Prepared | None] = lambda: None,
) -> Ended:
    """Compute a cell and say how that ended, whatever happens.

    Args:
        cell: whose upstream cells are finished.
        keys: of the protocol's cells.
        on_progress: called now and then with steps done and steps in all.
        read_images: the cell's data set, where other cells of this process read it too.
    """
    try:
        seconds, failure = compute_cell(cell, keys, on_progress, read_images())
    except SourcesSaved as error:
        return Ended("outdated", str(error))
    except Stopped:
        return Ended("stopped", "it was asked to stop; its checkpoint is kept")
    except UserError as error:
        return Ended("failed", str(error))
    except Exception as error:
        message = machine_failure(error)
        if message is None:
            traceback.print_exc()
            sys.stderr.flush()
            message = f"{type(error).__name__}: {error} (where: see the traceback above)"
        return Ended("failed", message)
    return Ended("done", failure or "", seconds)


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

    Raises:
        SourcesSaved: its code was saved in the meantime; nothing is kept.
        Stopped: SIGTERM came; what has been trained is in its checkpoint.
        UserError: it cannot be computed.
    """
    key = keys.key(cell)
    with noticing_sigterm() as stop, store.claimed_cell(cell, key) as claim:
        finished = store.finished(cell, key)
        if finished is not None:  # another process has computed it while this one waited
            return finished.provenance.seconds, finished.reason
        note = RunningNote(cell.title, key)
        try:
            watched = _watched(on_progress, claim, stop, note)
            seconds, failure = _compute(cell, keys, watched, note.epoch, prepared)
        finally:
            note.remove()
        # Not before: a kill in between would cost the whole cell.
        store.forget_checkpoint(key)
    return seconds, failure


def _compute(
    cell: Cell, keys: Keys, on_progress: OnProgress, on_epoch: OnEpoch, prepared: Prepared | None
) -> tuple[float, str | None]:
    started, clock, worked = datetime.now(UTC), time.monotonic(), _cpu_seconds()
    key, failure = keys.key(cell), None
    stage = import_module(f"bench.stages.{cell.stage}")
    with store.writing(cell, key) as folder:
        job = Job(cell, keys, folder, on_progress, on_epoch, prepared)
        try:
            # NumPy's and SciPy's BLAS on one thread: their products here are small, so threads slow them
            # down, and the order of a sum does not depend on the machine. A BLAS that is loaded later would
            # keep its threads, so the stage is imported before. torch takes its threads from the protocol.
            with threadpool_limits(1, user_api="blas"):
                stage.compute(job)
        except Diverged as error:
            failure = str(error)
            for file in folder.iterdir():
                file.unlink()
        saved = saved_since_start(keys.sources(cell))
        if saved:
            raise SourcesSaved(
                f"{saved[0]} was saved while {cell.title} was being computed, so its numbers are not kept. "
                "Run: dvc repro"
            )
        seconds = time.monotonic() - clock
        command = f"dvc repro {cell.dvc_stage}"
        origin = provenance(
            started,
            seconds,
            _device_name(job),
            command,
            keys.weights(cell),
            {} if failure else job.costs,
            cpu_seconds=_cpu_seconds() - worked,
        )
        store.keep(folder, cell, key, origin, failure)
    return seconds, failure


def _cpu_seconds() -> float:
    """What processors have worked for this process, and for those that it has started and that have ended."""
    return sum(os.times()[:4])


def _watched(on_progress: OnProgress, claim: HeldClaim, stop: StopRequest, note: RunningNote) -> OnProgress:
    def watched(done: int, total: int) -> None:
        claim.touch()
        note.step(done, total)
        on_progress(done, total)
        if stop.received:
            raise Stopped

    return watched


def _device_name(job: Job) -> str:
    if not STAGES[job.cell.stage].on_device:
        return "CPU"
    from imssl.device import hardware_name

    return hardware_name(job.device)
