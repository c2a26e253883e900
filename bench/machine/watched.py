"""Work in a process of its own, so that something is left to say why it was killed or crashed.

Nothing outside the standard library is imported here, see bench.stage.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from bench.machine.system import can_fork, end_with_parent, forked

# A shell reports this and the number of the signal for a process that a signal has ended.
SIGNALS_FROM = 128
# What that is, and why it happens.
ENDED_BY_SIGNAL = {
    137: "was killed, perhaps because memory ran out",
    139: "crashed in a library (SIGSEGV), perhaps because memory ran out or packages do not fit together",
    134: "was aborted by a library (SIGABRT), perhaps because memory ran out",
    135: "could not read a file or memory that had gone (SIGBUS), perhaps because a disk or /dev/shm is full",
}


def run_watched(work: Callable[[], int]) -> int:
    """Do some work in a forked child, which ends with this process; where forking is not safe, do it here.

    Args:
        work: returns an exit status.

    Returns:
        The exit status, 128 + n where signal n ended the child.
    """
    if not can_fork():
        return work()

    def until_parent_ends() -> int:
        end_with_parent()
        return work()

    child = forked(until_parent_ends)

    def pass_on(signal_number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal_number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the child as well
    return as_shell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def as_shell(status: int) -> int:
    """An exit status as a shell reports it, 128 + n where signal n ended the process.

    Args:
        status: as Python reports it, -n where signal n ended the process.
    """
    return status if status >= 0 else SIGNALS_FROM - status


def say_what_ended(work: str, status: int | None) -> None:
    """Say on standard error that a signal has ended some work, and what to do; nothing if none has.

    Args:
        work: what it was, such as ``the stage``.
        status: as a shell reports it.
    """
    if status in ENDED_BY_SIGNAL:
        print(
            f"error: {work} {ENDED_BY_SIGNAL[status]}: run fewer cells at a time (IMSSL_BENCH_WORKERS=1) or "
            "set smaller batches in params.yaml. Finished cells and checkpoints are kept; dvc repro goes on "
            "from them.",
            file=sys.stderr,
            flush=True,
        )
