"""Cells side by side: how much more one machine does with several at a time than with one."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from bench.machine.workers import SMALL_IMAGE
from bench.perf.measure import Effort, Figure, interleaved, per_second, seconds_of, times_faster
from bench.perf.phantoms import phantom_set
from bench.perf.timed_run import METHODS, Setting, TimedRun, recipe_for, settings_for
from imssl.datasets.prepared import read_prepared
from imssl.device import select_device
from imssl.errors import UserError
from imssl.settings.encoder import EncoderSettings
from imssl.settings.hardware import Hardware

GROUP = "side by side"
ON_A_GPU = (1, 2, 4, 8)
MOST_CORES = 8  # each takes a process, and half a GiB of memory


@dataclass(frozen=True)
class Arrangement:
    """How a machine is divided.

    Attributes:
        cells: processes, each of which trains an encoder of its own.
        threads: of torch, in each.
    """

    cells: int
    threads: int

    @property
    def title(self) -> str:
        """How a table calls it."""
        cells = "1 cell" if self.cells == 1 else f"{self.cells} cells"
        return f"{cells} of {self.threads} thread{'s' if self.threads > 1 else ''}"


def arrangements(device: torch.device, threads: int) -> list[Arrangement]:
    """The divisions that are compared; the first one is what the others are compared with."""
    if device.type == "cuda":
        return [Arrangement(cells, 1) for cells in ON_A_GPU]
    cores = min(threads, MOST_CORES)
    return list(dict.fromkeys([Arrangement(1, cores), Arrangement(cores, 1)]))


def measure(effort: Effort, hardware: Hardware, device: torch.device, folder: Path) -> Iterator[Figure]:
    """Images per second of all cells together, for small images.

    Args:
        effort: how long to measure.
        hardware: precision, and the threads that are divided.
        device: where to train.
        folder: for the images.
    """
    divisions = arrangements(device, hardware.threads)
    for setting in settings_for(device)[: effort.settings]:
        if setting.size > SMALL_IMAGE:
            continue
        prepared = phantom_set("histology", 40, setting.size, folder)
        place = folder / prepared.card.name
        with cells(max(d.cells for d in divisions), setting, place, hardware) as pipes:
            take_steps(pipes[:1], 1, 1)
            steps = max(1, round(effort.seconds / seconds_of(partial(take_steps, pipes[:1], 1, 1))))
            calls = {d.title: partial(take_steps, pipes[: d.cells], d.threads, steps) for d in divisions}
            seconds = interleaved(calls, effort.rounds)
        # Per cell, as a division with twice the cells takes twice the steps.
        share = {d.title: [s / d.cells for s in seconds[d.title]] for d in divisions}
        first = divisions[0].title
        for division in divisions:
            yield Figure(
                GROUP,
                f"{division.title}, moco, {setting.title}",
                "images/s",
                per_second(share[division.title], steps * setting.batch),
                against="" if division.title == first else first,
                ratio=None if division.title == first else times_faster(share, division.title, first),
            )


@contextmanager
def cells(count: int, setting: Setting, place: Path, hardware: Hardware) -> Iterator[list[Connection]]:
    """Start processes that train on a prepared data set when they are told to; a connection to each."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, setting, place, hardware), daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        with _explained():
            for pipe in pipes:
                pipe.recv()  # it has imported what it needs and built its encoder
        yield pipes
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.close()
            process.terminate()
            process.join()


def take_steps(pipes: list[Connection], threads: int, steps: int) -> None:
    """Let these cells take some steps of pretraining at the same time, and wait for the last of them."""
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
            "bench perf: one of the cells side by side has ended, perhaps for want of memory. "
            "Leave them out: bench perf --only pretraining (and the other groups)."
        ) from None


def _serve(connection: Connection, setting: Setting, place: Path, hardware: Hardware) -> None:
    device = select_device(hardware)
    recipe = recipe_for(setting, read_prepared(place), hardware, device)
    encoder = EncoderSettings.model_validate({"name": setting.encoder, "stem": "imagenet"})
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
