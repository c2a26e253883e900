"""Cells side by side: how much more a machine gets done with several cells at a time than with one."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from bench.machine.workers import SMALL_IMAGE
from bench.perf.phantoms import phantom_set
from bench.perf.timed_run import METHODS, TimedRun, Workload, recipe_for, workloads_for
from bench.perf.timing import Effort, PerfRow, interleaved, per_second, seconds_of, times_faster
from imssl.datasets.prepared import read_prepared
from imssl.device import select_device
from imssl.errors import UserError
from imssl.settings.encoder import EncoderSettings
from imssl.settings.hardware import Hardware

GROUP = "side by side"
ON_A_GPU = (1, 2, 4, 8)
MOST_CORES = 8  # each takes a process and half a GiB of memory


@dataclass(frozen=True)
class Arrangement:
    """How a machine is divided among cells.

    Attributes:
        cells: number of processes, each of which trains its own encoder.
        threads: of torch in each process.
    """

    cells: int
    threads: int

    @property
    def title(self) -> str:
        """What a table calls it."""
        cells = "1 cell" if self.cells == 1 else f"{self.cells} cells"
        return f"{cells} of {self.threads} thread{'s' if self.threads > 1 else ''}"


def arrangements(device: torch.device, threads: int) -> list[Arrangement]:
    """The arrangements that are compared; the others are compared with the first one."""
    if device.type == "cuda":
        return [Arrangement(cells, 1) for cells in ON_A_GPU]
    cores = min(threads, MOST_CORES)
    return list(dict.fromkeys([Arrangement(1, cores), Arrangement(cores, 1)]))


def measure(effort: Effort, hardware: Hardware, device: torch.device, folder: Path) -> Iterator[PerfRow]:
    """Images per second of all cells together, for small images.

    Args:
        effort: how much to measure.
        hardware: precision, and the threads to be divided.
        device: where to train.
        folder: for the images.
    """
    compared = arrangements(device, hardware.threads)
    for workload in workloads_for(device)[: effort.workloads]:
        if workload.size > SMALL_IMAGE:
            continue
        prepared = phantom_set("histology", 40, workload.size, folder)
        dataset = folder / prepared.card.name
        with cells(max(a.cells for a in compared), workload, dataset, hardware) as pipes:
            train_together(pipes[:1], 1, 1)
            steps = max(1, round(effort.seconds / seconds_of(partial(train_together, pipes[:1], 1, 1))))
            calls = {a.title: partial(train_together, pipes[: a.cells], a.threads, steps) for a in compared}
            seconds = interleaved(calls, effort.rounds)
        # Divided by the cells, because an arrangement with twice the cells takes twice the steps.
        per_cell = {a.title: [s / a.cells for s in seconds[a.title]] for a in compared}
        first = compared[0].title
        for arrangement in compared:
            title = arrangement.title
            yield PerfRow(
                GROUP,
                f"{title}, moco, {workload.title}",
                "images/s",
                per_second(per_cell[title], steps * workload.batch),
                against="" if title == first else first,
                ratio=None if title == first else times_faster(per_cell, title, first),
            )


@contextmanager
def cells(count: int, workload: Workload, dataset: Path, hardware: Hardware) -> Iterator[list[Connection]]:
    """Start processes that train on a prepared data set on request.

    Args:
        count: number of processes.
        workload: what each of them trains.
        dataset: folder of the prepared data set.
        hardware: device and precision.

    Yields:
        A connection to each process, for :func:`train_together`.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, workload, dataset, hardware), daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        with _explained():
            for pipe in pipes:
                pipe.recv()  # sent once it has imported what it needs and built its encoder
        yield pipes
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.close()
            process.terminate()
            process.join()


def train_together(pipes: list[Connection], threads: int, steps: int) -> None:
    """Let these cells take steps of pretraining at the same time, and wait for all of them."""
    with _explained():
        for pipe in pipes:
            pipe.send((threads, steps))
        for pipe in pipes:
            pipe.recv()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError):
        raise UserError(
            "bench perf: one of the cells side by side has ended, perhaps because memory ran out. "
            "Leave them out: bench perf --only pretraining --only probes (and so on)."
        ) from None


def _serve(connection: Connection, workload: Workload, dataset: Path, hardware: Hardware) -> None:
    device = select_device(hardware)
    recipe = recipe_for(workload, read_prepared(dataset), hardware, device)
    encoder = EncoderSettings.model_validate({"name": workload.encoder, "stem": "imagenet"})
    run = TimedRun(*METHODS["moco"], encoder, recipe)
    connection.send("ready")
    while True:
        try:
            threads, steps = connection.recv()
        except EOFError:
            return
        torch.set_num_threads(threads)
        run.end_to_end(steps)
        connection.send("done")
