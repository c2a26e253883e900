"""Worker processes that run jobs side by side: the cells of a stage, or the parts of a report.

Two processes of one thread each get more done on two cores than one process of two threads, and do not stall
when another program wants a core. Which worker runs a job, and beside which others, changes no number.
"""

import gc
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from bench.machine.failures import NOTHING_LOST, machine_failure
from bench.machine.system import can_fork, cores, start_method
from imssl.errors import UserError

# Jobs are numbered. The work does the job of a number and returns its result; in the meantime it may report
# progress by calling its second argument. Results and progress reach this process through a pipe from a fork
# of its own, as multiprocessing sends objects.
Work = Callable[[int, Callable[[Any], None]], Any]
Result = TypeVar("Result")

PROGRESS, DONE, REFUSED = "progress", "done", "refused"
# Between two reports of progress.
PROGRESS_SECONDS = 0.1

# A forked child does not look through its parent's objects for garbage: that would write to the memory
# that they share, and so copy it.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=gc.freeze)

# Cells whose images have at most SMALL_IMAGE pixels a side run SHARING_A_GPU at a time on one GPU: a single
# one takes steps too short to keep it busy. Larger images fill the GPU, and its memory.
SMALL_IMAGE, SHARING_A_GPU = 64, 4


def cells_on_a_gpu(image_size: int) -> int:
    """How many cells with images of so many pixels a side share a GPU, where nobody says how many."""
    return SHARING_A_GPU if image_size <= SMALL_IMAGE else 1


def cells_at_once(
    threads: int,
    cells: int,
    gpu_image_size: int | None,
    gpus: int = 1,
    per_gpu: int | None = None,
) -> int:
    """How many cells run side by side; IMSSL_BENCH_WORKERS sets another number.

    Args:
        threads: CPU threads of each cell.
        cells: number of cells to run.
        gpu_image_size: side of the images in pixels if the cells run on GPUs; None on the CPU.
        gpus: how many there are.
        per_gpu: cells that share a GPU; None for as many as suit the size of the images.
    """
    count = _room(threads, cells)
    if gpu_image_size is None or os.environ.get("IMSSL_BENCH_WORKERS"):
        return count
    return min(count, max(1, gpus) * (per_gpu or cells_on_a_gpu(gpu_image_size)))


def worker_count(threads: int, jobs: int) -> int:
    """How many workers share some jobs: as many as have room, and one where none may be forked.

    Args:
        threads: CPU threads of each worker.
        jobs: number of jobs, which only a forked process can take over.
    """
    return _room(threads, jobs) if can_fork() else 1


def _room(threads: int, jobs: int) -> int:
    """How many processes fit on the cores this one may use; IMSSL_BENCH_WORKERS sets another number.

    Args:
        threads: CPU threads of each process.
        jobs: number of jobs; there are never more processes than that.

    Raises:
        UserError: IMSSL_BENCH_WORKERS is not a whole number of at least 1.
    """
    requested = os.environ.get("IMSSL_BENCH_WORKERS", "")
    if requested:
        if not requested.isdecimal() or int(requested) < 1:
            raise UserError(f"IMSSL_BENCH_WORKERS is {requested!r}; give a whole number of at least 1")
        return min(int(requested), jobs)
    return max(1, min(cores() // threads, jobs))


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
    """Start workers for the block. Enter it before any thread is started: a thread does not survive a fork.

    Args:
        count: of processes.
        work: of a module, or made of what is, where processes are not forked.
    """
    pool = Workers(count, work)
    try:
        yield pool.run
    finally:
        pool.stop()


def at_intervals(
    tell: Callable[[int, int], None], seconds: float = PROGRESS_SECONDS
) -> Callable[[int, int], None]:
    """Pass on steps done and steps in all, but not more often than every so many seconds."""
    last = float("-inf")

    def on_progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            tell(done, total)

    return on_progress


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


def in_own_process(task: Callable[[], Result]) -> Result:
    """Carry out a task in a process that ends with it, for code that must not reach this process.

    Args:
        task: of a module, or made of what is, where processes are not forked.

    Returns:
        What the task returned; nothing else that it did is seen here but the files that it wrote.

    Raises:
        UserError: the task raised it, or its process was killed.
    """
    results: list[Result] = []
    with workers(1, partial(_carry_out, task)) as run:
        results += [message for _, kind, message in run([0]) if kind == DONE]
    return results[0]


def _carry_out(task: Callable[[], Result], _job: int, _report: Callable[[Any], None]) -> Result:
    return task()


class Workers:
    """A few processes, each doing one job at a time."""

    def __init__(self, count: int, work: Work) -> None:
        context: Any = multiprocessing.get_context(start_method())
        self._processes: dict[Connection, BaseProcess] = {}
        for _ in range(count):
            here, there = context.Pipe()
            inherited = [here, *self._processes] if can_fork() else []
            process = context.Process(target=_serve, args=(there, inherited, work), daemon=True)
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
