"""Files that survive a power cut: their content reaches the disk before they get their final name."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imssl.errors import UserError

# The disk is full, the user's share of it is used up, or the file system takes no larger file.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def raise_if_full(error: BaseException, folder: Path) -> None:
    """Say that a folder is full, before the failure is taken for a fault of what was read.

    Args:
        error: that writing to the folder raised, or that a library has raised because of that one.
        folder: to which was written; a failed write does not name it.

    Raises:
        UserError: the error is that of a full disk.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            raise UserError(
                f"{folder}: {os.strerror(cause.errno)}. Free some space there. If it is the temporary "
                "folder, TMPDIR can name another one."
            ) from None
        cause = cause.__cause__ or cause.__context__


def give_final_name(partial: Path, file: Path) -> None:
    """Rename a finished file, so that a file of the final name is always whole.

    Args:
        partial: the file as written, in the same folder.
        file: its final name; a file that has this name already is replaced.
    """
    sync(partial)
    partial.replace(file)
    sync(file.parent)


def sync_tree(folder: Path) -> None:
    """Make sure that all files and folders below a folder, and the folder itself, are on the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Make sure that a file's content, or a folder's list of names, is on the disk."""
    if os.name != "posix":  # other systems cannot open folders, and sync only files opened for writing
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def write_text(file: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it, so that it is never half-written."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it, so that it is never half-written."""
    with written_beside(file) as partial:
        partial.write_bytes(content)
        give_final_name(partial, file)


def write_unsynced(file: Path, text: str) -> None:
    """Write a text file that is never seen half-written, and that a power cut may take."""
    with written_beside(file) as partial:
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)


@contextmanager
def written_beside(file: Path) -> Iterator[Path]:
    """A path beside a file, under which its new content is written before that takes the file's name.

    No other process has the same one, so two may write the same file: the later content stays, whole.
    Whatever still has that name when the block ends is removed.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)
