"""One lock for a checkout: stages share it, and a command that writes what they read has it alone.

DVC guards its own files and the outputs of its stages; this guards params.yaml and reports/ against a change
while a stage reads or writes them. The lock is the operating system's (flock), so it ends with the process
that holds it, however that ends. A small file for each holder lets a message name them.
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
    """Hold the lock beside others; waits, after saying for whom, while a command has it alone."""
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
        UserError: something else holds it; the message says what, since when, and its process.
    """
    with _open_lock() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{command} must not run beside {_holders()} in this folder. "
                "Wait until that has ended, or stop it."
            ) from None
        with _named(command):
            yield


@contextmanager
def _open_lock() -> Iterator[int]:
    STORE.mkdir(parents=True, exist_ok=True)
    # The file stays: if it were removed, two processes could lock two files of one name.
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
    """Who holds the lock; files of processes that have ended without removing theirs are passed over."""
    named = []
    for file in sorted(HOLDERS.glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            os.kill(int(file.stem), 0)
            named.append(f"{content['command']} (process {file.stem}, since {content['since']})")
        except PermissionError:
            named.append(f"process {file.stem} of another user")
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ", ".join(named) or "another process"
