"""Worker processes for cells: each runs one cell at a time, on as many threads as the protocol says.

Two processes of one thread each do more on two cores than one process of two threads, and do not stall when
another program wants a core. Which worker runs a cell, and beside what, changes none of its numbers.
"""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from bench.machine.failures import GOES_ON, machine_failure
from imssl.errors import UserError

# Does the work of one number and returns what is to be told of it; it may tell on its way through the second
# argument. Both go through a pipe between this process and its own forks, as multiprocessing sends objects.
Work = Callable[[int, Callable[[Any], None]], Any]
Result = TypeVar("Result")

PROGRESS, DONE, REFUSED = "progress", "done", "refused"


# Cells of images of up to so many pixels a side share a GPU, so many at a time: the steps of one alone are
# too short to keep it busy. Larger images fill it, and its memory.
SMALL_IMAGE, SHARING_A_GPU = 64, 4


def cells_at_once(threads: int, cells: int, gpu_image_size: int | None) -> int:
    """Cells that run side by side; IMSSL_BENCH_WORKERS sets another number.

    Args:
        threads: of the CPU, for each cell.
        cells: that are to run.
        gpu_image_size: side of the images in pixels where the cells share a GPU; None on the CPU.
    """
    count = worker_count(threads, cells)
    if gpu_image_size is None or os.environ.get("IMSSL_BENCH_WORKERS"):
        return count
    return min(count, SHARING_A_GPU if gpu_image_size <= SMALL_IMAGE else 1)


def worker_count(threads: int, jobs: int) -> int:
    """Workers that fit on the cores this process may use; IMSSL_BENCH_WORKERS sets another number."""
    asked = os.environ.get("IMSSL_BENCH_WORKERS", "")
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise UserError(f"IMSSL_BENCH_WORKERS is {asked!r}; give a whole number of at least 1")
        return min(int(asked), jobs)
    if sys.platform != "linux":  # forking is not safe everywhere else
        return 1
    return max(1, min(len(os.sched_getaffinity(0)) // threads, jobs))


# Runs jobs, the first ones first, and yields (job, PROGRESS or DONE, what it told).
Run = Callable[[Sequence[int]], Iterator[tuple[int, str, Any]]]


@contextmanager
def in_this_process(work: Work, tell: Callable[[int, Any], None]) -> Iterator[Run]:
    """Run jobs one after another, here; what a job tells on its way goes to ``tell``."""

    def run(jobs: Sequence[int]) -> Iterator[tuple[int, str, Any]]:
        for job in jobs:
            yield job, PROGRESS, None
            yield job, DONE, work(job, partial(tell, job))

    yield run


@contextmanager
def workers(count: int, work: Work) -> Iterator[Run]:
    """Fork workers for the block. Enter it before starting any thread, which a fork would not survive."""
    pool = Workers(count, work)
    try:
        yield pool.run
    finally:
        pool.stop()


def side_by_side(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Carry out tasks on all cores, the first ones first.

    Args:
        tasks: of one thread each; they may run in forked processes, so nothing but what they write and
            return is left of them.

    Returns:
        What the tasks return, in their order.

    Raises:
        UserError: of a task; or a worker was killed.
    """
    count = worker_count(1, len(tasks))
    found: dict[int, Result] = {}

    def work(number: int, _tell: Callable[[Any], None]) -> Result:
        return tasks[number]()

    with workers(count, work) if count > 1 else in_this_process(work, lambda *_: None) as run:
        found.update((job, told) for job, kind, told in run(range(len(tasks))) if kind == DONE)
    return [found[job] for job in range(len(tasks))]


class Workers:
    """A few forked processes that take numbers of jobs and tell how these go on."""

    def __init__(self, count: int, work: Work) -> None:
        context = multiprocessing.get_context("fork")
        self._processes: dict[Connection, BaseProcess] = {}
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(there, [here, *self._processes], work), daemon=True
            )
            process.start()
            there.close()
            self._processes[here] = process

    def run(self, jobs: Sequence[int]) -> Iterator[tuple[int, str, Any]]:
        """Run the jobs, the first ones first, and yield (job, PROGRESS or DONE, what it told).

        Raises:
            UserError: of a job; or a worker was killed.
        """
        waiting, busy = list(jobs), dict[Connection, int]()
        idle = list(self._processes)
        while waiting or busy:
            while waiting and idle:
                connection, job = idle.pop(), waiting.pop(0)
                busy[connection] = job
                connection.send(job)
                yield job, PROGRESS, None
            for ready in wait(list(busy)):
                connection = ready  # type: ignore[assignment]
                job = busy[connection]
                kind, told = self._receive(connection)
                if kind == REFUSED:
                    raise UserError(told)
                if kind == DONE:
                    idle.append(connection)
                    del busy[connection]
                yield job, kind, told

    def stop(self) -> None:
        """End the processes, whatever they are at."""
        for connection, process in self._processes.items():
            connection.close()
            process.terminate()
            process.join()

    def _receive(self, connection: Connection) -> tuple[str, Any]:
        try:
            kind, told = connection.recv()
        except (EOFError, ConnectionError):
            process = self._processes[connection]
            process.join()
            raise UserError(
                f"a worker process ended with status {process.exitcode} (-9: killed, perhaps for want of "
                f"memory; then run fewer cells at a time: IMSSL_BENCH_WORKERS=1). {GOES_ON}"
            ) from None
        return kind, told


def _serve(connection: Connection, others: list[Connection], work: Work) -> None:
    for other in others:
        other.close()
    try:
        while True:
            job = connection.recv()
            try:
                connection.send((DONE, work(job, lambda told: connection.send((PROGRESS, told)))))
            except UserError as error:
                connection.send((REFUSED, str(error)))
            except Exception as error:
                message = machine_failure(error)
                if message is None:
                    raise
                connection.send((REFUSED, message))
    except (EOFError, ConnectionError, KeyboardInterrupt):
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
