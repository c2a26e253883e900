"""Worker processes that run jobs side by side: the cells of a stage, or the parts of a report.

Two processes of one thread each get more done on two cores than one process of two threads, and do not stall
when another program wants a core. Which worker runs a job, and beside which others, changes no number.
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

from bench.machine.failures import NOTHING_LOST, machine_failure
from imssl.errors import UserError

# Jobs are numbered. The work does the job of a number and returns its result; in the meantime it may report
# progress by calling its second argument. Results and progress reach this process through a pipe from a fork
# of its own, as multiprocessing sends objects.
Work = Callable[[int, Callable[[Any], None]], Any]
Result = TypeVar("Result")

PROGRESS, DONE, REFUSED = "progress", "done", "refused"

# Cells whose images have at most SMALL_IMAGE pixels a side run SHARING_A_GPU at a time on one GPU: a single
# one takes steps too short to keep it busy. Larger images fill the GPU, and its memory.
SMALL_IMAGE, SHARING_A_GPU = 64, 4


def cells_at_once(threads: int, cells: int, gpu_image_size: int | None) -> int:
    """How many cells run side by side; IMSSL_BENCH_WORKERS sets another number.

    Args:
        threads: CPU threads of each cell.
        cells: number of cells to run.
        gpu_image_size: side of the images in pixels if the cells share a GPU; None on the CPU.
    """
    count = worker_count(threads, cells)
    if gpu_image_size is None or os.environ.get("IMSSL_BENCH_WORKERS"):
        return count
    return min(count, SHARING_A_GPU if gpu_image_size <= SMALL_IMAGE else 1)


def worker_count(threads: int, jobs: int) -> int:
    """How many workers fit on the cores this process may use; IMSSL_BENCH_WORKERS sets another number.

    Args:
        threads: CPU threads of each worker.
        jobs: number of jobs; there are never more workers than that.

    Raises:
        UserError: IMSSL_BENCH_WORKERS is not a whole number of at least 1.
    """
    requested = os.environ.get("IMSSL_BENCH_WORKERS", "")
    if requested:
        if not requested.isdecimal() or int(requested) < 1:
            raise UserError(f"IMSSL_BENCH_WORKERS is {requested!r}; give a whole number of at least 1")
        return min(int(requested), jobs)
    if sys.platform != "linux":  # forking is not safe everywhere else
        return 1
    return max(1, min(len(os.sched_getaffinity(0)) // threads, jobs))


# Runs jobs in the order given, and yields (job, PROGRESS, what it reported) and (job, DONE, its result).
JobRunner = Callable[[Sequence[int]], Iterator[tuple[int, str, Any]]]


@contextmanager
def in_this_process(work: Work, on_progress: Callable[[int, Any], None]) -> Iterator[JobRunner]:
    """Run jobs in this process, one after another.

    Args:
        work: does a job.
        on_progress: called with a job's number and what it reports while it runs.
    """

    def run(jobs: Sequence[int]) -> Iterator[tuple[int, str, Any]]:
        for job in jobs:
            yield job, PROGRESS, None
            yield job, DONE, work(job, partial(on_progress, job))

    yield run


@contextmanager
def workers(count: int, work: Work) -> Iterator[JobRunner]:
    """Fork workers for the block. Enter it before any thread is started: a thread does not survive a fork."""
    pool = Workers(count, work)
    try:
        yield pool.run
    finally:
        pool.stop()


def side_by_side(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Carry out tasks on all cores, started in the order given.

    Args:
        tasks: single-threaded each. They may run in forked processes, so only what they return, and what
            they write to files, is seen here.

    Returns:
        The results of the tasks, in their order.

    Raises:
        UserError: a task raised it, or a worker was killed.
    """
    count = worker_count(1, len(tasks))
    results: dict[int, Result] = {}

    def work(job: int, _report: Callable[[Any], None]) -> Result:
        return tasks[job]()

    with workers(count, work) if count > 1 else in_this_process(work, lambda *_: None) as run:
        results.update((job, message) for job, kind, message in run(range(len(tasks))) if kind == DONE)
    return [results[job] for job in range(len(tasks))]


class Workers:
    """A few forked processes, each doing one job at a time."""

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
        """Run the jobs in the order given; what is yielded is described at `JobRunner`.

        Raises:
            UserError: a job raised it, or a worker was killed.
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
                kind, message = self._receive(connection)
                if kind == REFUSED:
                    raise UserError(message)
                if kind == DONE:
                    idle.append(connection)
                    del busy[connection]
                yield job, kind, message

    def stop(self) -> None:
        """End the processes, whatever they are doing."""
        for connection, process in self._processes.items():
            connection.close()
            process.terminate()
            process.join()

    def _receive(self, connection: Connection) -> tuple[str, Any]:
        try:
            kind, message = connection.recv()
        except (EOFError, ConnectionError):
            process = self._processes[connection]
            process.join()
            raise UserError(
                f"a worker process ended with status {process.exitcode} (-9 means that it was killed, "
                "perhaps because memory ran out; then run fewer cells at a time: IMSSL_BENCH_WORKERS=1). "
                f"{NOTHING_LOST}"
            ) from None
        return kind, message


def _serve(connection: Connection, inherited: list[Connection], work: Work) -> None:
    for parents_end in inherited:
        parents_end.close()
    try:
        while True:
            job = connection.recv()
            try:
                connection.send((DONE, work(job, lambda message: connection.send((PROGRESS, message)))))
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
