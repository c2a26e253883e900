"""Claims: one process at a time computes a cell, on this machine or on another that shares the folder.

A claim is a file that names its holder. It appears complete or not at all (written under a name of its own,
then linked), so nothing here rests on flock, which not every shared file system has. A holder touches its
claim now and then: one on this machine is given up when its process has gone, one of another machine when
nobody has touched it for `SILENT_SECONDS`.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from bench.cells.files import SHARED_STORE, STORE
from imssl.durable import write_unsynced, written_beside
from imssl.operating_system import takes_portable_ways

# On cells of the store, which may be that of several checkouts; and on what each of these has for itself.
CLAIMS = SHARED_STORE / "claims"
CHECKOUT_CLAIMS = STORE / "claims"
TOUCH_SECONDS = 20.0
# Long enough for a node that stalls; a claim that is given up too early costs time, never a number.
SILENT_SECONDS = 600.0
POLL_SECONDS = 0.2
# Of one process psutil may say a second more or less, as it counts from when the system started.
SAME_START = 2


@dataclass(frozen=True)
class Holder:
    """A process that holds something.

    Attributes:
        host: of the machine, see :func:`this_host`.
        process: its number there.
        started: when the process began, as the system counts it (ticks, or seconds); 0 where it does not
            say. A number that was given to another process since has another one.
        command: what it does, for messages.
        since: when it took hold, local time, ISO 8601.
    """

    host: str
    process: int
    started: int
    command: str
    since: str

    def __str__(self) -> str:
        where = "" if self.host == this_host() else f" on {self.host.partition('/')[0]}"
        return f"{self.command} (process {self.process}{where}, since {self.since})"


@dataclass
class HeldClaim:
    """A claim of this process."""

    file: Path
    touched: float

    def touch(self) -> None:
        """Say that this process is still at work; cheap enough to be called at every step."""
        now = time.monotonic()
        if now - self.touched > TOUCH_SECONDS / 2:
            self.touched = now
            with suppress(OSError):
                os.utime(self.file)


@cache
def this_host() -> str:
    """This machine's name, and which processes it sees: containers may share a name and a folder."""
    namespace = ""
    if not takes_portable_ways():
        with suppress(OSError):
            namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (no path, but a name)
    return f"{socket.gethostname()}/{namespace}"


def this_process(command: str) -> Holder:
    """This process as a holder."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return Holder(this_host(), os.getpid(), _state(os.getpid())[1], command, since)


def has_gone(holder: Holder) -> bool:
    """Whether a holder's process has certainly ended; of another machine's nothing is known."""
    if holder.host != this_host():
        return False
    try:
        os.kill(holder.process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    state, started = _state(holder.process)
    # A process that has ended stays in the table until its parent asks for its status, which may be never.
    is_another = bool(started and holder.started) and abs(started - holder.started) > SAME_START
    return state in ("Z", "X") or is_another


def read_holder(file: Path) -> Holder | None:
    """The holder that a file names; None where there is none (any more)."""
    try:
        return Holder(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_holder(file: Path, command: str) -> None:
    """Name this process in a file as the one that holds something; others see it whole or not at all."""
    write_unsynced(file, json.dumps(asdict(this_process(command))))


def is_held(file: Path) -> bool:
    """Whether somebody holds a claim, as far as this machine can tell."""
    holder = read_holder(file)
    return holder is not None and not _is_given_up(holder, file, time.time())


@contextmanager
def claimed(
    name: str, command: str, while_waiting: Callable[[Holder], None], folder: Path = CLAIMS
) -> Iterator[HeldClaim]:
    """Hold a claim for the block.

    Args:
        name: what is claimed; also the name of its file.
        command: what this process does, for the messages of others.
        while_waiting: called again and again while another process holds it; it may raise to give up.
        folder: of the claims: of the store, or of what is claimed in this checkout only.
    """
    file = folder / name
    while (holder := _take(file, command)) is not None:
        while_waiting(holder)
        time.sleep(POLL_SECONDS)
    try:
        yield HeldClaim(file, time.monotonic())
    finally:
        if _is_ours(read_holder(file)):
            file.unlink(missing_ok=True)


@contextmanager
def kept(claim: HeldClaim) -> Iterator[None]:
    """Touch a claim while the block runs, where its process only waits for others."""
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(TOUCH_SECONDS):
            claim.touch()

    toucher = threading.Thread(target=touch, daemon=True)
    toucher.start()
    try:
        yield
    finally:
        ended.set()
        toucher.join()


def _take(file: Path, command: str) -> Holder | None:
    """Take a claim; whoever holds it where it cannot be taken."""
    with written_beside(file) as ready:
        ready.write_text(json.dumps(asdict(this_process(command))), encoding="utf-8")
        while not _appears(ready, file):
            holder = read_holder(file)
            # By the clock of the file system, as those of nodes differ.
            if holder is not None and not _is_given_up(holder, file, ready.stat().st_mtime):
                return holder
            _set_aside(file, holder)
        return None


def _appears(ready: Path, file: Path) -> bool:
    try:
        os.link(ready, file)  # fails where the file exists: one of many takes it
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        with contextlib.suppress(FileExistsError), file.open("x", encoding="utf-8") as stream:
            stream.write(ready.read_text(encoding="utf-8"))
            return True
        return False
    return True


def _set_aside(file: Path, expected: Holder | None) -> None:
    """Remove a claim that nobody holds, unless somebody has just taken it."""
    aside = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        file.rename(aside)
        if read_holder(aside) != expected:
            with suppress(OSError):
                os.link(aside, file)
        aside.unlink(missing_ok=True)


def _is_given_up(holder: Holder, file: Path, now: float) -> bool:
    """Whether a claim has nobody behind it any more: its process has gone, or its machine is silent.

    Silence of a process of this machine means nothing: it is seen to be there, and some cells take long
    between two steps.

    Args:
        holder: that the claim names.
        file: the claim.
        now: in seconds since the epoch.
    """
    if holder.host == this_host():
        return has_gone(holder)
    try:
        return now - file.stat().st_mtime > SILENT_SECONDS
    except FileNotFoundError:  # it has just been given back
        return True


def _is_ours(holder: Holder | None) -> bool:
    return holder is not None and (holder.host, holder.process) == (this_host(), os.getpid())


def _state(process: int) -> tuple[str, int]:
    """State of a process as one letter, and when it began; ("", 0) where that is not known.

    Linux counts in ticks since it started, which no change of the clock moves; the portable way in seconds.
    """
    if takes_portable_ways():
        return _state_by_psutil(process)
    try:
        # The name, in parentheses, may hold spaces.
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return "", 0


def _state_by_psutil(process: int) -> tuple[str, int]:
    import psutil  # imported here: on Linux it is not needed

    try:
        known = psutil.Process(process)
        has_ended = known.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return "Z" if has_ended else "S", int(known.create_time())
    except psutil.Error:
        return "", 0
