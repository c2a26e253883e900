"""Files that survive a power cut: their content reaches the disk before they get their final name."""

import errno
import os
from pathlib import Path


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
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_bytes(content)
        give_final_name(partial, file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
