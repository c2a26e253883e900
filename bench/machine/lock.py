"""One lock for a checkout: stages share it, and a command that writes what they read holds it alone.

DVC guards its own files and the outputs of its stages; this guards params.yaml and reports/ against changes
while a stage reads or writes them. The lock is the operating system's (flock), so it ends with the process
that holds it, however that process ends. Each holder also writes a small file, so that a message can name it.

On a file system without flock these files are the lock. Between looking and writing another process may come;
finished cells do not rest on it, see `bench.cells.store.held_cells`.
"""

import errno
import fcntl
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from bench.cells.files import STORE
from bench.cells.store.held_cells import has_gone, read_holder, write_holder
from imssl.errors import UserError

LOCK = STORE / "lock"
HOLDERS = STORE / "holders"
# How the lock is held: the first part of the name of a holder's file.
SHARED, ALONE = "shared", "alone"
# What a file system says that has no flock.
NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
POLL_SECONDS = 0.2


@contextmanager
def shared(command: str) -> Iterator[None]:
    """Hold the lock together with others; while a command holds it alone, say which one, and wait."""
    with _locked(_share), _named(command, SHARED):
        yield


@contextmanager
def alone(command: str) -> Iterator[None]:
    """Hold the lock alone.

    Raises:
        UserError: something else holds it; the message names the command, its process, and since when.
    """
    with _locked(partial(_take, command)), _named(command, ALONE):
        yield


@contextmanager
def _locked(acquire: Callable[[int], None]) -> Iterator[None]:
    is_first = not STORE.exists()
    descriptor = _acquired(acquire)
    try:
        yield
    finally:
        if is_first:
            _leave_nothing(descriptor)
        os.close(descriptor)


def _acquired(acquire: Callable[[int], None]) -> int:
    while True:
        descriptor = _open_lock()
        try:
            acquire(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if os.fstat(descriptor).st_nlink > 0:
            return descriptor
        os.close(descriptor)  # the file is no longer the lock: who held it has left nothing behind


def _open_lock() -> int:
    while True:
        STORE.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # removed again in between
            continue


def _leave_nothing(descriptor: int) -> None:
    """Remove the lock of a command that has found nothing and made nothing, such as one that was refused."""
    with suppress(OSError):  # somebody else holds it, too
        if sorted(STORE.iterdir()) != sorted([LOCK, HOLDERS]):
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            HOLDERS.rmdir()
            LOCK.unlink()
            STORE.rmdir()
        finally:
            # A process that was started meanwhile has inherited the lock, and may outlive this one.
            fcntl.flock(descriptor, fcntl.LOCK_SH)


def _share(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for {_holders()}", file=sys.stderr, flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        _wait_until_nobody_is_alone()


def _take(command: str, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{command} cannot run in this folder at the same time as {_holders()}. "
            "Wait until that has ended, or stop it."
        ) from None
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        holders = _living_holders()
        if holders:
            raise UserError(
                f"{command} cannot run in this folder at the same time as {', '.join(holders.values())}. "
                "Wait until that has ended, or stop it. If its machine has gone down, delete "
                f"{next(iter(holders))}."
            ) from None


def _wait_until_nobody_is_alone() -> None:
    has_said_so = False
    while alone_now := {file: who for file, who in _living_holders().items() if file.name.startswith(ALONE)}:
        if not has_said_so:
            has_said_so = True
            file, who = next(iter(alone_now.items()))
            print(
                f"waiting for {who}; if its machine has gone down, delete {file}", file=sys.stderr, flush=True
            )
        time.sleep(POLL_SECONDS)


@contextmanager
def _named(command: str, how: str) -> Iterator[None]:
    HOLDERS.mkdir(exist_ok=True)
    _living_holders()  # those of processes that were killed are removed
    # Not only the process' number: machines that share the folder may have equal ones.
    file = HOLDERS / f"{how}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    write_holder(file, command)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _living_holders() -> dict[Path, str]:
    """Who holds the lock, by file; the files of processes that were killed are removed."""
    holders = {}
    for file in sorted(HOLDERS.glob("*.json")):
        holder = read_holder(file)
        if holder is None or has_gone(holder):
            file.unlink(missing_ok=True)
        else:
            holders[file] = str(holder)
    return holders


def _holders() -> str:
    return ", ".join(_living_holders().values()) or "another process"
