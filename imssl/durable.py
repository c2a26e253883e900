"""Files that outlive a power cut: their content reaches the disk before their final name does."""

import errno
import os
from pathlib import Path


def give_final_name(partial: Path, file: Path) -> None:
    """Rename a finished file, so that the name means the whole content or does not exist.

    Args:
        partial: as written, in the same folder.
        file: its final name; a file that has it already is replaced.
    """
    sync(partial)
    partial.replace(file)
    sync(file.parent)


def sync_tree(folder: Path) -> None:
    """Bring all files and folders below a folder, and the folder itself, to the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's list of names, to the disk."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, and a file only for writing
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
    """Write a text file under another name first, so that it is never half there."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file under another name first, so that it is never half there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_bytes(content)
        give_final_name(partial, file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
