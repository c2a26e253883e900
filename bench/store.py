"""The store of finished cells, by key, outside DVC's outputs.

DVC deletes a stage's output before it runs the stage. Cells kept here outlive that, so a killed stage, a
longer list of seeds or a parameter put back to an earlier value costs only what is really new.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.cells import Cell
from bench.results import CELL_FILE, STORE, CellRecord, Provenance, read_record, write_text
from imssl.errors import UserError


def cell_folder(cell: Cell, key: str) -> Path:
    """Where a finished cell is kept."""
    return STORE / "cells" / cell.stage / key


def checkpoint_file(key: str) -> Path:
    """Where an unfinished cell keeps its checkpoint."""
    return STORE / "checkpoints" / key / "checkpoint.pt"


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
    """A fresh folder for a cell's files; it is thrown away if the block fails."""
    work = STORE / "work"
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{cell.stage}-{key[:12]}-", dir=work))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
        mode=cell.mode,
        status="done" if failure is None else "failed",
        reason=failure,
        files=file_checksums(folder),
        provenance=provenance,
    )
    write_text(folder / CELL_FILE, record.model_dump_json(indent=1) + "\n")
    folder.chmod(0o755)
    target = cell_folder(cell, key)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    folder.rename(target)
    return record


def copy_out(cell: Cell, key: str, target: Path) -> None:
    """Copy a finished cell into its stage's output; never a link, so that an edit there stays there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(cell_folder(cell, key), target)


def file_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but its record, by relative name."""
    checksums = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != CELL_FILE:
            with file.open("rb") as stream:
                sha = hashlib.file_digest(stream, "sha256").hexdigest()
            checksums[file.relative_to(folder).as_posix()] = sha
    return checksums
