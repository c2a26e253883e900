"""The most memory that this process holds while something runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.machine.system import memory_mib


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
            anonymous, resident = memory_mib()
            peak.anonymous = max(peak.anonymous, anonymous)
            peak.resident = max(peak.resident, resident)
            if ended.wait(0.05):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
