"""Cells as jobs of Slurm, by way of submitit: what is ready at a time is one array job.

A job that Slurm preempts, or whose time runs out, saves its checkpoint and is queued again. The driver only
submits and looks for results; it may run on a login node.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
from submitit.helpers import DelayedSubmission

import bench
from bench.cells.files import STORE
from bench.cells.keys import Keys
from bench.cells.store.running import running_cell
from bench.launch.compute import Ended
from bench.launch.engines.cluster import ClusterSettings
from bench.launch.engines.engine import Event
from bench.launch.engines.node import NodeProcess
from bench.machine.gpus import devices_of, is_on_gpu
from bench.machine.torchrun import COMMAND
from bench.protocol.cell import Cell, cell_fields, cell_in
from imssl.errors import UserError

LOGS = STORE / "slurm"
# Between two looks at results, and between two at Slurm's queue, which is one question for all jobs.
POLL_SECONDS, QUEUE_SECONDS = 1.0, 30.0
# A job that ends needs a moment to leave the queue, and its result one to be seen on a shared file system.
TIMES_NOT_QUEUED = 2
# A cell that outlasts its time limit so often does not get on.
MOST_TIMEOUTS = 100


class SlurmEngine:
    """Cells as jobs of Slurm.

    Args:
        keys: of the protocol's cells.
        cluster: what a job asks for.
        workers: jobs in the queue at a time; None for what cluster.yaml says.
    """

    def __init__(self, keys: Keys, cluster: ClusterSettings, workers: int | None = None) -> None:
        self._keys, self._cluster = keys, cluster
        self._at_once = workers or cluster.slurm.at_once
        self._wave: list[Cell] = []
        self._jobs: dict[Cell, submitit.Job[dict[str, Any]]] = {}
        self._not_queued: dict[Cell, int] = {}
        self._looked = time.monotonic()

    @property
    def room(self) -> int:
        """How many more jobs may be in the queue."""
        return self._at_once - len(self._jobs) - len(self._wave)

    def submit(self, cell: Cell) -> None:
        """Put a cell into the next array job."""
        self._wave.append(cell)

    def events(self) -> Iterator[Event]:
        """Submit what is ready, then look for results; waits a second.

        Raises:
            UserError: Slurm refuses a job.
        """
        hardware = self._keys.protocol.hardware
        waves: dict[tuple[int, bool], list[Cell]] = {}  # of cells that ask for the same
        for cell in self._wave:
            waves.setdefault((devices_of(cell, hardware), is_on_gpu(cell, hardware)), []).append(cell)
        self._wave = []
        for (devices, on_gpu), wave in waves.items():
            self._submit_array(wave, devices, on_gpu)
        time.sleep(POLL_SECONDS)
        gone = self._not_in_queue()
        for cell, job in list(self._jobs.items()):
            if job.paths.result_pickle.exists():
                yield self._ended(cell, _result(job))
            elif cell in gone:
                why = f"its job {job.job_id} left the queue without a result, see {job.paths.stderr}"
                yield self._ended(cell, Ended("lost", why))
            else:
                yield from self._progress(cell)

    def close(self) -> None:
        """Cancel the jobs; what runs saves its checkpoint."""
        for job in self._jobs.values():
            job.cancel(check=False)
        self._jobs, self._wave = {}, []

    def _submit_array(self, wave: list[Cell], devices: int, on_gpu: bool) -> None:
        executor = self._executor(devices, on_gpu)
        contents = [cell_fields(cell) for cell in wave]
        keys = [self._keys.key(cell) for cell in wave]
        try:
            jobs = executor.map_array(SlurmCell(str(Path.cwd())), contents, keys)
        except (FailedJobError, FailedSubmissionError, RuntimeError, OSError) as error:
            raise UserError(
                f"Slurm refuses the jobs: {str(error).strip()}. See cluster.yaml: slurm."
            ) from None
        self._jobs |= dict(zip(wave, jobs, strict=True))

    def _executor(self, devices: int, on_gpu: bool) -> submitit.AutoExecutor:
        name = self._cluster.slurm.executor
        try:
            executor = submitit.AutoExecutor(LOGS, name, **{f"{name}_max_num_timeout": MOST_TIMEOUTS})
        except RuntimeError as error:
            raise UserError(f"there is no Slurm here: {error}") from None
        threads = self._keys.protocol.hardware.threads
        executor.update_parameters(**job_options(self._cluster, threads, self._at_once, devices, on_gpu))
        return executor

    def _progress(self, cell: Cell) -> Iterator[Event]:
        running = running_cell(self._keys.key(cell))
        if running is not None:
            yield Event(cell, steps=running.steps)

    def _not_in_queue(self) -> set[Cell]:
        """Cells whose jobs have certainly ended. `sacct`, which submitit asks, is not there everywhere."""
        if time.monotonic() - self._looked < QUEUE_SECONDS:
            return set()
        self._looked = time.monotonic()
        if self._cluster.slurm.executor == "local":
            return {cell for cell, job in self._jobs.items() if job.state != "RUNNING"}
        listed = subprocess.run(
            ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", "--me"],
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode != 0:  # the controller does not answer now
            return set()
        lines = (line.split() for line in listed.stdout.splitlines())
        queued = {line[0] for line in lines if len(line) == 2 and line[1] in QUEUED}
        for cell, job in self._jobs.items():
            missed = 0 if job.job_id in queued else self._not_queued.get(cell, 0) + 1
            self._not_queued[cell] = missed
        return {cell for cell in self._jobs if self._not_queued[cell] >= TIMES_NOT_QUEUED}

    def _ended(self, cell: Cell, ended: Ended) -> Event:
        del self._jobs[cell]
        self._not_queued.pop(cell, None)
        return Event(cell, ended=ended)


def job_options(
    cluster: ClusterSettings, threads: int, at_once: int, devices: int, on_gpu: bool
) -> dict[str, Any]:
    """What an array job asks for, as submitit calls it.

    Args:
        cluster: what cluster.yaml says.
        threads: of the CPU, for each process of a cell.
        at_once: jobs of the array.
        devices: processes that compute a cell of it together.
        on_gpu: whether they compute on GPUs.
    """
    if COMMAND in os.environ:
        devices = 1  # the command says what each node is to give, as `additional` says of how many
    settings = cluster.slurm
    options: dict[str, Any] = {
        "name": "imssl-bench",
        "timeout_min": settings.minutes,
        "cpus_per_task": threads * devices,
    }
    if cluster.memory_gib is not None:
        options["mem_gb"] = cluster.memory_gib
    if settings.executor == "local":
        return options
    for name in ("partition", "account", "qos", "constraint", "exclude"):
        if getattr(settings, name):
            options[f"slurm_{name}"] = getattr(settings, name)
    if on_gpu and settings.gres is not None:
        options["slurm_gres"] = _of_devices(settings.gres, devices)
    return options | {
        "slurm_array_parallelism": at_once,
        "slurm_signal_delay_s": settings.signal_seconds,
        "slurm_setup": list(settings.setup),
        "slurm_additional_parameters": {"requeue": True, **settings.additional},
    }


def _of_devices(gres: str, devices: int) -> str:
    """What so many devices need, where one needs ``gres``, such as ``gpu:1`` or ``gpu:a100:1,shard:2``."""
    return ",".join(_times(resource, devices) for resource in gres.split(","))


def _times(resource: str, devices: int) -> str:
    name, _, count = resource.rpartition(":")
    if name and count.isdecimal():
        return f"{name}:{int(count) * devices}"
    return resource if devices == 1 else f"{resource}:{devices}"


# States of a job that has a result to come.
QUEUED = {
    "PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
    "PREEMPTED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED", "SPECIAL_EXIT",
}  # fmt: skip


class SlurmCell:
    """What a job calls; submitit brings it there.

    Args:
        project: folder, on the shared file system.
    """

    def __init__(self, project: str) -> None:
        self.project = project
        self.node: NodeProcess | None = None

    def __call__(self, content: dict[str, Any], key: str) -> dict[str, Any]:
        """Compute a cell; how it ended, see `bench.launch.compute.Ended`."""
        self.node = NodeProcess(Path(self.project), Path(bench.__file__).parents[1])
        ended = self.node.compute(cell_in(content), key, lambda done, total: None)
        self.node.stop()
        return ended._asdict()

    def checkpoint(self, content: dict[str, Any], key: str) -> DelayedSubmission:
        """Called by submitit before a preemption or the time limit: the cell saves its state."""
        if self.node is not None:
            self.node.stop()
        return DelayedSubmission(SlurmCell(self.project), content, key)


def _result(job: "submitit.Job[dict[str, Any]]") -> Ended:
    try:
        return Ended(**job.result())
    except (FailedJobError, UncompletedJobError) as error:
        return Ended("failed", f"{str(error).strip().splitlines()[-1]} (see {job.paths.stderr})")
