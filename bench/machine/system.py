"""What the suite asks of the operating system, each with a portable way beside Linux' own.

The portable ways serve macOS, and Linux under IMSSL_BENCH_PORTABLE=1, by which the tests try them: processes
are started anew instead of forked, stages start cold, and psutil is asked instead of /proc. Which way is
taken changes no number. Every stage starts by importing this, on the standard library alone (bench.stage), so
what is seldom used is imported where it is.
"""

import ctypes
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from imssl.operating_system import peak_resident_mib as peak_of_getrusage
from imssl.operating_system import takes_portable_ways

PARENT_SECONDS = 1.0


def can_fork() -> bool:
    """Whether processes that have imported the large libraries may be forked; on macOS that is not safe."""
    return not takes_portable_ways()


def start_method() -> Literal["fork", "spawn"]:
    """How a process is started, as multiprocessing calls it."""
    return "fork" if can_fork() else "spawn"


def forked(work: Callable[[], int]) -> int:
    """Fork a child that does some work and ends with the exit status that it returns.

    Returns:
        The child's number.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        status = work()
    except KeyboardInterrupt:  # before the work could handle it
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)  # nothing of the parent's is run or written twice


def cores() -> int:
    """How many processor cores this process may use."""
    if not takes_portable_ways():
        return len(os.sched_getaffinity(0))
    import psutil

    affinity = getattr(psutil.Process(), "cpu_affinity", None)  # macOS has none
    return len(affinity()) if affinity else psutil.cpu_count() or 1


def end_with_parent() -> None:
    """Receive SIGTERM when the parent dies; a thread looks for that where the system sends none."""
    if takes_portable_ways():
        from threading import Thread

        Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    else:
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _watch(parent: int) -> None:
    import time

    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def is_running(process: int) -> bool:
    """Whether there is a process of that number."""
    import psutil

    return psutil.pid_exists(process)


def resident_mib(process: int) -> float:
    """Resident memory of a process in MiB; 0 where it has ended."""
    import psutil

    try:
        return psutil.Process(process).memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def memory_mib() -> tuple[float, float]:
    """Memory of this process in MiB: what is its own, and what is resident with the pages of mapped files."""
    if not takes_portable_ways():
        return _status("RssAnon"), _status("VmRSS")
    import psutil

    memory = psutil.Process().memory_full_info()
    return memory.uss / 2**20, memory.rss / 2**20


def peak_resident_mib() -> float:
    """The most memory that this process has held so far, in MiB.

    On Linux not taken from getrusage, whose figure a process inherits from its parent, however small it is
    itself.
    """
    return peak_of_getrusage() if takes_portable_ways() else _status("VmHWM")


def limit(file_bytes: int, cpu_seconds: int) -> None:
    """Let this process write no larger file and use no more of the processor's time."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))


def inherited_by_children() -> list[object]:
    """What a forked child takes over that cannot be sent to it: limits, priority, containers, processors.

    Only Linux is asked, where stages are forked from a server.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    limits = [
        resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")
    ]
    cgroup = ""
    with suppress(OSError):
        cgroup = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    # Containers that share a temporary folder may have different files under the same names.
    mounts = str(Path("/proc/self/ns/mnt").readlink())
    processors = sorted(os.sched_getaffinity(0))
    priority, scheduler = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
    return [umask, limits, priority, scheduler, cgroup, mounts, processors]


def _status(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0
