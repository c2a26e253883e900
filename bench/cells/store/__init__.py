"""The store of finished cells, by key, outside DVC's outputs.

DVC deletes a stage's output before it runs the stage. Cells kept here outlive that, so a killed stage, a
longer list of seeds or a parameter put back to an earlier value costs only what is really new.
"""

import errno
import hashlib
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.cells.files import CELL_FILE, PROVENANCE_FILE, SHARED_STORE, STORE, cell_path
from bench.cells.records import CellRecord, Provenance, provenance_file, read_record, write_record
from bench.cells.store.held_cells import HeldClaim, Holder, claimed, has_gone, read_holder, write_holder
from bench.protocol.cell import Cell, cell_fields
from imssl.durable import sync, sync_tree
from imssl.errors import UserError

# Where the files of cells are written before they are finished.
WORK = SHARED_STORE / "work"


def check_place() -> None:
    """Refuse a shared store that means another folder in each checkout, or that cannot be used.

    Raises:
        UserError: IMSSL_BENCH_STORE is a relative path, or no folder that can be written.
    """
    if SHARED_STORE == STORE:
        return
    if not SHARED_STORE.is_absolute():
        raise UserError(
            f"IMSSL_BENCH_STORE={SHARED_STORE} means another folder in each checkout. Give an absolute path."
        )
    try:
        SHARED_STORE.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"IMSSL_BENCH_STORE={SHARED_STORE} is no folder to write in: {error.strerror}"
        ) from None


def cell_folder(cell: Cell, key: str) -> Path:
    """Where a finished cell is kept."""
    return SHARED_STORE / "cells" / cell.stage / key


def checkpoint_file(key: str) -> Path:
    """Where an unfinished cell keeps its checkpoint."""
    return SHARED_STORE / "checkpoints" / key / "checkpoint.pt"


def forget_checkpoint(key: str) -> None:
    """Delete what a cell kept in order to continue; it is finished."""
    shutil.rmtree(checkpoint_file(key).parent, ignore_errors=True)


def finished(cell: Cell, key: str) -> CellRecord | None:
    """The record of a finished cell whose files are all as they were written; None otherwise."""
    return intact(cell_folder(cell, key), key)


def intact(folder: Path, key: str) -> CellRecord | None:
    """The record of a folder that holds a cell of this key as it was finished; None otherwise."""
    try:
        record = read_record(folder)
        if record is None or record.key != key or file_checksums(folder) != record.files:
            return None
    except (UserError, FileNotFoundError):  # another process may be replacing it by its own
        return None
    return record


def kept(cell: Cell, key: str) -> tuple[Path, CellRecord] | None:
    """Folder and record of a finished cell, in the store or among the results; None if in neither."""
    for folder in (cell_folder(cell, key), cell_path(cell)):
        record = intact(folder, key)
        if record is not None:
            return folder, record
    return None


@contextmanager
def claimed_cell(cell: Cell, key: str) -> Iterator[HeldClaim]:
    """Be the only process that computes a cell; wait while another one does."""
    said: set[Holder] = set()

    def say_once(holder: Holder) -> None:
        if holder not in said:
            said.add(holder)
            print(f"{cell.title}: waiting for {holder}, which computes it", flush=True)

    with claimed(key, f"computing {cell.title}", say_once) as claim:
        yield claim


@contextmanager
def writing(cell: Cell, key: str) -> Iterator[Path]:
    """A fresh folder for a cell's files; it is thrown away if the block fails.

    What killed processes of this machine left there is removed first. Beside the folder a file names the
    process at work: a lock would do on one machine, but between nodes of a shared file system without flock
    every folder would seem to be left behind.
    """
    for holder in WORK.glob("*.holder"):
        if is_left_behind(holder.with_suffix("")):
            remove_work(holder.with_suffix(""))
    folder = WORK / f"{cell.stage}-{key[:12]}-{uuid.uuid4().hex[:8]}"
    write_holder(_holder_file(folder), cell.title)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_work(folder)


def is_left_behind(folder: Path) -> bool:
    """Whether a folder of :func:`writing` has nobody at work in it.

    Of a holder that cannot be read, or that is of another machine, nothing is known.
    """
    file = _holder_file(folder)
    if not file.exists():
        return True
    holder = read_holder(file)
    return holder is not None and has_gone(holder)


def remove_work(folder: Path) -> None:
    """Remove a folder of :func:`writing`, then the file that names who is at work in it."""
    shutil.rmtree(folder, ignore_errors=True)
    _holder_file(folder).unlink(missing_ok=True)


def _holder_file(folder: Path) -> Path:
    # Also of what `move` has set aside there, which has a suffix of its own.
    return folder.with_suffix(".holder")


def keep(
    folder: Path, cell: Cell, key: str, provenance: Provenance, failure: str | None = None
) -> CellRecord:
    """Seal a cell's folder with its record and move it to its place in the store."""
    record = CellRecord(
        key=key,
        **cell_fields(cell),
        status="done" if failure is None else "failed",
        reason=failure,
        files=file_checksums(folder),
        provenance=provenance,
    )
    record = write_record(folder, record)
    put_in_place(folder, cell, key)
    return record


def put_in_place(folder: Path, cell: Cell, key: str) -> None:
    """Move a folder of :func:`writing`, which holds a finished cell, to its place in the store.

    Raises:
        UserError: what lies there afterwards is not what was written.
    """
    sync_tree(folder)
    target = cell_folder(cell, key)
    target.parent.mkdir(parents=True, exist_ok=True)
    move(folder, target)
    sync(target.parent)
    if not _is_kept(cell, key):
        raise UserError(
            f"{target} does not hold what was just written there: something else changes the files of the "
            "store, or its disk is faulty. Mend that and run it again."
        )


def _is_kept(cell: Cell, key: str) -> bool:
    """Whether a cell lies in the store as it was written; another process may be replacing it by its own."""
    for _ in range(20):
        if finished(cell, key) is not None:
            return True
        time.sleep(0.05)
    return False


def move(folder: Path, target: Path) -> None:
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


def copy_out(cell: Cell, key: str) -> None:
    """Copy a finished cell into its stage's output; never a link, so that an edit there stays there."""
    source, target = cell_folder(cell, key), cell_path(cell)
    partial = target.with_name(target.name + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns(PROVENANCE_FILE))
    origin = provenance_file(target)
    origin.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / PROVENANCE_FILE, origin)
    partial.rename(target)


def bring_in(cell: Cell, key: str, folder: Path) -> bool:
    """Copy a cell that lies elsewhere into the store, if it is intact and has the key.

    Args:
        cell: which.
        key: that it must have.
        folder: where it lies: its place among the results, of this checkout or of another one.

    Returns:
        Whether it is in the store now.

    Raises:
        UserError: as :func:`put_in_place`.
    """
    record = intact(folder, key)
    if record is None:
        return False
    with writing(cell, key) as copy:
        for name in record.files:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, copy / name)
        write_record(copy, record)
        put_in_place(copy, cell, key)
    return True


def file_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a cell's folder but its record and its provenance, by relative name."""
    checksums = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name not in (CELL_FILE, PROVENANCE_FILE):
            with file.open("rb") as stream:
                sha = hashlib.file_digest(stream, "sha256").hexdigest()
            checksums[file.relative_to(folder).as_posix()] = sha
    return checksums
