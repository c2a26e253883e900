"""How much memory this process holds, from Linux' /proc."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peak:
    """The most memory a process held, in MiB.

    Attributes:
        anonymous: of its own; what the system cannot drop.
        resident: with the pages of mapped files, which the system drops when it wants them.
    """

    anonymous: float = 0.0
    resident: float = 0.0


@contextmanager
def watched() -> Iterator[Peak]:
    """Watch this process' memory in the block, twenty times a second."""
    peak, ended = Peak(), threading.Event()

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
    """The most memory this process held.

    Not as getrusage tells it: a process inherits that figure from the one that started it, however small it
    is itself.
    """
    return _status("VmHWM")


def _status(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0
