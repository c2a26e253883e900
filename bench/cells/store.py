"""The store of finished cells, by key, outside DVC's outputs.

DVC deletes a stage's output before it runs the stage. Cells kept here outlive that, so a killed stage, a
longer list of seeds or a parameter put back to an earlier value costs only what is really new.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.cells.files import CELL_FILE, STORE, cell_path
from bench.cells.records import CellRecord, Provenance, read_record, write_record
from bench.protocol.cell import Cell
from imssl.durable import sync, sync_tree
from imssl.errors import UserError


def cell_folder(cell: Cell, key: str) -> Path:
    """Where a finished cell is kept."""
    return STORE / "cells" / cell.stage / key


def checkpoint_file(key: str) -> Path:
    """Where an unfinished cell keeps its checkpoint."""
    return STORE / "checkpoints" / key / "checkpoint.pt"


def forget_checkpoint(key: str) -> None:
    """Delete what a cell kept in order to continue; it is finished."""
    shutil.rmtree(checkpoint_file(key).parent, ignore_errors=True)


def finished(cell: Cell, key: str) -> CellRecord | None:
    """The record of a finished cell whose files are all as they were written; None otherwise."""
    folder = cell_folder(cell, key)
    try:
        record = read_record(folder)
    except UserError:
        return None
    if record is None or record.key != key or file_checksums(folder) != record.files:
        return None
    return record


@contextmanager
def writing(cell: Cell, key: str) -> Iterator[Path]:
    """A fresh folder for a cell's files; it is thrown away if the block fails.

    What a killed process left there is removed first.
    """
    folder, claim = _claimed_folder(STORE / "work", f"{cell.stage}-{key[:12]}-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(claim)


def keep(
    folder: Path, cell: Cell, key: str, provenance: Provenance, failure: str | None = None
) -> CellRecord:
    """Seal a cell's folder with its record and move it to its place in the store."""
    record = CellRecord(
        key=key,
        stage=cell.stage,
        dataset=cell.dataset,
        method=cell.method,
        seed=cell.seed,
        fraction=cell.fraction,
        status="done" if failure is None else "failed",
        reason=failure,
        files=file_checksums(folder),
        provenance=provenance,
    )
    record = write_record(folder, record)
    folder.chmod(0o755)
    sync_tree(folder)
    target = cell_folder(cell, key)
    target.parent.mkdir(parents=True, exist_ok=True)
    _move(folder, target)
    sync(target.parent)
    return record


def _move(folder: Path, target: Path) -> None:
    """Put a finished folder in its place, whatever is there, and whoever else is doing the same.

    A folder cannot be renamed onto one with files in it, so what is there moves away first. Another process
    that finishes the same cell between the two steps has written equal numbers; the later one tries again.
    """
    aside = folder.with_name(folder.name + ".replaced")
    while True:
        try:
            folder.rename(target)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with suppress(FileNotFoundError):
            target.rename(aside)
            shutil.rmtree(aside)


def _claimed_folder(work: Path, prefix: str) -> tuple[Path, int]:
    """A new folder below ``work`` and the descriptor whose lock says that its process is alive.

    Folders that nobody holds were left behind by a killed process and are removed.
    """
    work.mkdir(parents=True, exist_ok=True)
    gate = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)  # no folder is seen between its making and its claim
        for folder in work.iterdir():
            _remove_unless_claimed(folder)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=work))
        claim = os.open(folder, os.O_RDONLY)
        fcntl.flock(claim, fcntl.LOCK_EX)
    finally:
        os.close(gate)
    return folder, claim


def _remove_unless_claimed(folder: Path) -> None:
    with suppress(FileNotFoundError):
        claim = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        finally:
            os.close(claim)
        shutil.rmtree(folder, ignore_errors=True)


def copy_out(cell: Cell, key: str) -> None:
    """Copy a finished cell into its stage's output; never a link, so that an edit there stays there."""
    target = cell_path(cell)
    partial = target.with_name(target.name + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(cell_folder(cell, key), partial)
    partial.rename(target)


def file_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but its record, by relative name."""
    checksums = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != CELL_FILE:
            with file.open("rb") as stream:
                sha = hashlib.file_digest(stream, "sha256").hexdigest()
            checksums[file.relative_to(folder).as_posix()] = sha
    return checksums
