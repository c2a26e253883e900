"""Changes several files together, or none of them."""

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

# The new content of each file; None if the file is to be deleted.
FileChanges = dict[Path, bytes | None]


def change_files(changes: FileChanges) -> None:
    """Write and delete files so that all changes are made or, on an error or Ctrl-C, none.

    New contents are first written to temporary files beside the old ones; then the files are renamed in the
    order given, within moments. If the machine loses power in just these, only the first ones are changed, so
    the file that brings the others into effect should come last.

    Raises:
        OSError: a file cannot be written; everything is as it was.
    """
    before = {path: path.read_bytes() if path.exists() else None for path in changes}
    folders = [path.parent for path in changes if not path.parent.exists()]
    prepared: dict[Path, Path] = {}
    try:
        for path, content in changes.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                prepared[path] = _written_beside(path, content)
        with _deferred_interrupts():
            for path in changes:
                if path in prepared:
                    prepared[path].replace(path)
                else:
                    path.unlink(missing_ok=True)
    except BaseException:
        with _deferred_interrupts():
            _put_back(before)
            for partial in prepared.values():
                partial.unlink(missing_ok=True)
            for folder in folders:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        raise


def _written_beside(path: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".partial", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
        partial.chmod(mode & 0o777)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _put_back(before: FileChanges) -> None:
    for path, content in before.items():
        now = path.read_bytes() if path.exists() else None
        if now == content:
            continue
        if content is None:
            path.unlink()
        else:
            _written_beside(path, content).replace(path)


@contextlib.contextmanager
def _deferred_interrupts() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block.

    Blocking the signals in this thread would not be enough: the system would deliver them to another thread,
    and Python would still run their handlers in the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs handlers in the main thread only
        return
    arrived: list[int] = []
    handlers = {
        caught: signal.signal(caught, lambda number, _: arrived.append(number))
        for caught in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for caught, handler in handlers.items():
            signal.signal(caught, signal.SIG_DFL if handler is None else handler)
        for number in arrived[:1]:
            signal.raise_signal(number)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
