"""Files whose paths come from outside: a pipe, socket or device is refused before it is opened."""

import errno
import hashlib
import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFDIR: "is a folder",
}


def why_not_regular(status: os.stat_result) -> str | None:
    """What something is instead of a file, in a few words; None for a file."""
    if stat.S_ISREG(status.st_mode):
        return None
    return KINDS.get(stat.S_IFMT(status.st_mode), "is no file") + ", not a file"


def read_regular(path: Path, most_bytes: int | None = None) -> bytes:
    """Content of a file. Reading a pipe would wait for ever, and opening a device may already do something.

    Args:
        path: links are followed.
        most_bytes: a larger file is refused unread.

    Raises:
        OSError: it cannot be read, is not a regular file (``EINVAL``), or is too large (``EFBIG``);
            ``strerror`` says which.
    """
    _refuse_others(path, path.stat())
    # Should the path have become a pipe in between, opening it does not wait.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        _refuse_others(path, status)
        if most_bytes is not None and status.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"is larger than {most_bytes:,} bytes", str(path))
        return stream.read()


def checksum(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse_others(path: Path, status: os.stat_result) -> None:
    reason = why_not_regular(status)
    if reason:
        raise OSError(errno.EINVAL, reason, str(path))
