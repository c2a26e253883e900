"""How much memory this process holds, from Linux' /proc."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class PeakMemory:
    """The most memory that a process held, in MiB.

    Attributes:
        anonymous: memory of its own, which the system cannot take back.
        resident: the same plus the pages of mapped files, which the system may drop at any time.
    """

    anonymous: float = 0.0
    resident: float = 0.0


@contextmanager
def measured_peak() -> Iterator[PeakMemory]:
    """Measure this process' peak memory while the block runs, twenty times a second."""
    peak, ended = PeakMemory(), threading.Event()

    def watch() -> None:
        while True:
            peak.anonymous = max(peak.anonymous, _status("RssAnon"))
            peak.resident = max(peak.resident, _status("VmRSS"))
            if ended.wait(0.05):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def peak_resident_mib() -> float:
    """The most memory that this process has held so far, in MiB.

    Not taken from getrusage, whose figure a process inherits from its parent, however small it is itself.
    """
    return _status("VmHWM")


def _status(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0
