"""One lock for a checkout: stages share it, and a command that writes what they read holds it alone.

DVC guards its own files and the outputs of its stages; this guards params.yaml and reports/ against changes
while a stage reads or writes them. The lock is the operating system's (flock), so it ends with the process
that holds it, however that process ends. Each holder also writes a small file, so that a message can name it.
"""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from bench.cells.files import STORE
from imssl.errors import UserError

LOCK = STORE / "lock"
HOLDERS = STORE / "holders"


@contextmanager
def shared(command: str) -> Iterator[None]:
    """Hold the lock together with others; while a command holds it alone, say which one, and wait."""
    with _open_lock() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for {_holders()}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_SH)
        with _named(command):
            yield


@contextmanager
def alone(command: str) -> Iterator[None]:
    """Hold the lock alone.

    Raises:
        UserError: something else holds it; the message names the command, its process, and since when.
    """
    with _open_lock() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{command} cannot run in this folder at the same time as {_holders()}. "
                "Wait until that has ended, or stop it."
            ) from None
        with _named(command):
            yield


@contextmanager
def _open_lock() -> Iterator[int]:
    STORE.mkdir(parents=True, exist_ok=True)
    # The file is never removed: otherwise two processes could lock two different files of the same name.
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _named(command: str) -> Iterator[None]:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    file = HOLDERS / f"{os.getpid()}.json"
    HOLDERS.mkdir(exist_ok=True)
    file.write_text(json.dumps({"command": command, "since": since}), encoding="utf-8")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _holders() -> str:
    """Who holds the lock, ignoring the files of processes that were killed before they could remove them."""
    holders = []
    for file in sorted(HOLDERS.glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            os.kill(int(file.stem), 0)
            holders.append(f"{content['command']} (process {file.stem}, since {content['since']})")
        except PermissionError:
            holders.append(f"process {file.stem} of another user")
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ", ".join(holders) or "another process"
