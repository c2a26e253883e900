"""Files of a folder as bytes, for machines that do not share the project's folder."""

import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bench.cells import store
from bench.protocol.cell import Cell
from imssl.errors import UserError

# The bytes of files by their name, relative to a folder.
Parcel = dict[str, bytes]


def packed(folder: Path) -> Parcel:
    """All files below a folder."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def unpack(parcel: Parcel, folder: Path) -> None:
    """Make a folder of a parcel; it appears whole or not at all. One that is there already stays."""
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
    _write(parcel, partial)
    try:
        partial.rename(folder)
    except OSError:  # another cell of this machine was faster
        shutil.rmtree(partial)
        if not folder.is_dir():
            raise


def receive(cell: Cell, key: str, parcel: Parcel) -> None:
    """Put a cell that another machine has sent into the store.

    Raises:
        UserError: it is not that cell, or not as it was finished.
    """
    with store.writing(cell, key) as folder:
        _write(parcel, folder)
        if store.intact(folder, key) is None:
            raise UserError(f"{cell.title} came from another machine other than it was finished there")
        store.put_in_place(folder, cell, key)


def _write(parcel: Mapping[str, bytes], folder: Path) -> None:
    for name, content in parcel.items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"a machine sent a file of the name {name!r}, which leads out of its folder")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    with suppress(FileExistsError):
        folder.mkdir(parents=True)  # of an empty parcel
