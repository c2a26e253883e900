"""Cells side by side in processes of this machine.

Two processes of one thread each get more done on two cores than one process of two threads, and do not stall
when another program wants a core. Which cells run beside one another changes no number.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from bench.cells.files import data_folder
from bench.cells.keys import Keys
from bench.launch.compute import Ended, attempt_cell
from bench.launch.engines.engine import Event
from bench.machine.gpus import devices_of, least_used, use_only
from bench.machine.system import end_with_parent
from bench.machine.workers import at_intervals
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.errors import UserError

# Time for processes to save their checkpoints before they are killed.
LEAVING_SECONDS = 30.0


class InThisProcess:
    """One cell after another, here: for a single cell, or where processes cost more than they bring.

    Args:
        keys: of the protocol's cells.
        on_progress: called with a cell, its steps done and those in all: nothing else can tell while it runs.
    """

    def __init__(self, keys: Keys, on_progress: Callable[[Cell, int, int], None]) -> None:
        self._keys, self._on_progress = keys, on_progress
        self._cell: Cell | None = None
        self._data_sets = _DataSets()

    @property
    def room(self) -> int:
        """One, while nothing waits."""
        return int(self._cell is None)

    def submit(self, cell: Cell) -> None:
        """Remember the cell; it is computed when its events are asked for."""
        self._cell = cell

    def events(self) -> Iterator[Event]:
        """Compute the cell."""
        cell, self._cell = self._cell, None
        if cell is not None:
            yield Event(cell)
            tell = at_intervals(partial(self._on_progress, cell))
            ended = attempt_cell(cell, self._keys, tell, partial(self._data_sets.of, cell))
            yield Event(cell, ended=ended)

    def close(self) -> None:
        """Nothing runs."""


class LocalEngine:
    """Processes that are forked from this one, which has imported the large libraries.

    A method's file is code that may change the process that imports it, so no process that has pretrained
    computes another cell. The others go on to further cells of their data set, as a new process computes its
    first batches slowly. Where the system cannot fork, processes are started anew (``spawn``), which takes
    seconds, and go on to cells of any data set.

    Args:
        keys: of the protocol's cells.
        processes: side by side.
        start: how a process is started, as multiprocessing calls it.
        gpus: of this machine, over which the cells are spread; a process sees its own only.
    """

    def __init__(
        self,
        keys: Keys,
        processes: int,
        start: Literal["fork", "spawn"] = "fork",
        gpus: tuple[str, ...] = (),
    ) -> None:
        self._keys, self._processes, self._start = keys, processes, start
        self._gpus = gpus
        self._gpus_of: dict[Connection, tuple[str, ...]] = {}
        self._busy: dict[Connection, tuple[BaseProcess, Cell]] = {}
        self._idle: dict[Connection, tuple[BaseProcess, Cell]] = {}  # with what was last computed
        self._data_sets = _DataSets()

    @property
    def room(self) -> int:
        """How many processes are free."""
        return self._processes - len(self._busy)

    def submit(self, cell: Cell) -> None:
        """Give a cell to a process, a new one where it has to be."""
        order = (cell, self._keys.key(cell))
        for connection, (process, last) in list(self._idle.items()):
            if not self._may_follow(cell, last):
                continue
            try:
                connection.send(order)
            except ConnectionError:  # killed while it waited
                self._dismiss(connection)
            else:
                del self._idle[connection]
                self._busy[connection] = (process, cell)
                return
        if len(self._busy) + len(self._idle) >= self._processes:
            self._dismiss(next(iter(self._idle)))
        connection, process = self._started(cell)
        connection.send(order)
        self._busy[connection] = (process, cell)

    def events(self) -> Iterator[Event]:
        """What the processes have reported; waits half a second at most."""
        for ready in wait(list(self._busy), timeout=0.5):
            connection: Connection = ready  # type: ignore[assignment]
            process, cell = self._busy[connection]
            try:
                news = connection.recv()
            except (EOFError, ConnectionError):
                process.join()
                news = Ended("lost", _why_lost(process.exitcode))
            if isinstance(news, Ended):
                del self._busy[connection]
                self._release(connection, process, cell, news)
                yield Event(cell, ended=news)
            else:
                yield Event(cell, steps=news)

    def close(self) -> None:
        """Let processes save their checkpoints and leave; kill those that do not."""
        processes = [process for process, _ in [*self._busy.values(), *self._idle.values()]]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + LEAVING_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        for connection in [*self._busy, *self._idle]:
            connection.close()
        self._busy, self._idle, self._gpus_of = {}, {}, {}

    def dismiss_idle(self) -> None:
        """Let go what waits for cells, so that the next cell has a new process."""
        for connection in list(self._idle):
            self._dismiss(connection)

    def _started(self, cell: Cell) -> tuple[Connection, BaseProcess]:
        context: Any = multiprocessing.get_context(self._start)
        here, there = context.Pipe()
        # A process that stays for other cells keeps its GPU.
        devices = devices_of(cell, self._keys.protocol.hardware)
        in_use = [self._gpus_of[connection] for connection in [*self._busy, *self._idle]]
        self._gpus_of[here] = least_used(self._gpus, in_use, devices)
        if self._start == "fork":
            with suppress(UserError, OSError):  # then the process that needs it says why
                self._data_sets.of(cell)  # read here, once, and shared by the processes
            inherited = [here, *self._busy, *self._idle]
            arguments: tuple[Any, ...] = (
                there, self._keys, self._data_sets, inherited, self._gpus_of[here]
            )  # fmt: skip
            process = context.Process(target=_serve, args=arguments, daemon=True)
        else:
            # The keys are made anew, of the sources as that process finds them.
            arguments = (there, self._keys.protocol, _DataSets(), [], self._gpus_of[here])
            process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        there.close()
        return here, process

    def _may_follow(self, cell: Cell, last: Cell) -> bool:
        # A forked process has in its memory the images that were read before it was forked.
        return self._start == "spawn" or (cell.stage != "pretrain" and cell.dataset == last.dataset)

    def _release(self, connection: Connection, process: BaseProcess, cell: Cell, ended: Ended) -> None:
        if cell.stage == "pretrain" or ended.how != "done":
            self._dismiss(connection)
        else:
            self._idle[connection] = (process, cell)

    def _dismiss(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        del self._gpus_of[connection]
        connection.close()  # it ends by itself, as there is nothing to receive, while others go on


def _serve(
    connection: Connection,
    known: Keys | Protocol,
    data_sets: "_DataSets",
    inherited: list[Connection],
    gpus: tuple[str, ...],
) -> None:
    for parents_end in inherited:
        parents_end.close()
    end_with_parent()
    use_only(gpus)
    # Ctrl-C reaches the parent too, which then asks this process to leave.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keys = known if isinstance(known, Keys) else Keys(known)
    try:
        while True:
            cell, key = connection.recv()
            connection.send((0, 1))
            if keys.key(cell) != key:
                connection.send(Ended("outdated", "the code was saved while the run was at work"))
                return
            tell = at_intervals(lambda done, total: connection.send((done, total)))
            ended = attempt_cell(cell, keys, tell, partial(data_sets.of, cell))
            connection.send(ended)
            if ended.how == "stopped":  # the signal asked this process to leave, and not only the cell
                return
    except (EOFError, ConnectionError):
        os._exit(0)  # the parent has no more cells, or has gone


class _DataSets:
    """The prepared data sets that have been read, and so checked against their cards, by this process."""

    def __init__(self) -> None:
        self._prepared: dict[str, Prepared] = {}

    def of(self, cell: Cell) -> Prepared | None:
        """The cell's data set; None where it reads no images."""
        if not STAGES[cell.stage].reads_images:
            return None
        if cell.dataset not in self._prepared:
            self._prepared[cell.dataset] = read_prepared(data_folder(cell.dataset))
        return self._prepared[cell.dataset]


def _why_lost(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return (
            "its process was killed, perhaps because memory ran out: run fewer cells at a time "
            "(IMSSL_BENCH_WORKERS=1), or set smaller batches in params.yaml"
        )
    if exit_code is not None and exit_code < 0:
        return f"its process was ended by the signal {signal.Signals(-exit_code).name}"
    return f"its process ended with status {exit_code}"
