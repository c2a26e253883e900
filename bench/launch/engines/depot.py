"""The project, for machines that do not share its folder: what cells read goes out, what they found comes in.

Ray runs it as an actor on the driver's machine; files travel as bytes through Ray's object store.
"""

import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cells import store
from bench.cells.files import data_folder
from bench.cells.keys import Keys
from bench.cells.store.parcels import Parcel, packed, receive, unpack
from bench.protocol.cell import Cell, built_on
from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import read_protocol
from bench.protocol.source_files.places import own_method_files
from bench.protocol.starting_points import weights_files
from imssl.durable import write_bytes
from imssl.errors import UserError
from imssl.paths import expanded
from imssl.regular_file import read_regular


class Depot:
    """The driver's project, as another machine asks for it.

    Args:
        project: its folder.
    """

    def __init__(self, project: str) -> None:
        os.chdir(project)
        self._news: dict[str, tuple[int, int]] = {}

    def tell(self, key: str, done: int, total: int) -> None:
        """A cell has done so many of its steps."""
        self._news[key] = (done, total)

    def news(self) -> dict[str, tuple[int, int]]:
        """What has been reported since this was asked the last time, by key."""
        news, self._news = self._news, {}
        return news

    def params(self) -> bytes:
        """params.yaml."""
        return PARAMS.read_bytes()

    def methods(self) -> dict[str, bytes]:
        """The project's own method files, by name."""
        return {file.name: file.read_bytes() for file in own_method_files()}

    def dataset(self, name: str) -> Parcel:
        """A prepared data set."""
        return packed(data_folder(name))

    def weights(self, file: str) -> bytes:
        """A file that the protocol names."""
        return read_regular(expanded(file))

    def finished_cell(self, cell: Cell, key: str) -> Parcel:
        """A cell of the store."""
        return packed(store.cell_folder(cell, key))

    def bring(self, cell: Cell, key: str, parcel: Parcel) -> None:
        """Keep a cell that was finished elsewhere; see :func:`receive`."""
        receive(cell, key, parcel)


# Calls a method of the depot by its name.
Ask = Callable[..., Any]


def fetch_project(folder: Path, ask: Ask) -> None:
    """Make a folder of this machine a project in which cells can be computed.

    Args:
        folder: that this machine keeps for one run of the driver, perhaps with what earlier cells brought.
        ask: reaches the depot.

    Raises:
        UserError: the protocol names a file by an absolute path, and it is not on this machine; or by a
            relative path that leads out of the project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / PARAMS).is_file():
        return
    params: bytes = ask("params")
    partial = folder / f"{PARAMS.name}.{uuid.uuid4().hex[:8]}"
    partial.write_bytes(params)
    for name in set(weights_files(read_protocol(partial))):
        file = expanded(name)
        if ".." in file.parts:
            raise UserError(
                f"params.yaml names {name}, which may lie outside the project, so it is not brought along to "
                f"{socket.gethostname()}. Put it into the project, or name it by an absolute path without .."
            )
        if not file.is_absolute():
            content: bytes = ask("weights", name)
            write_bytes(folder / file, content)
        elif not file.is_file():
            raise UserError(
                f"params.yaml names {name}, and {socket.gethostname()} has no such file. Put it there, or "
                "name it by a path inside the project: then it is brought along."
            )
    methods: dict[str, bytes] = ask("methods")
    for name, content in methods.items():
        write_bytes(folder / "methods" / name, content)
    partial.rename(folder / PARAMS)


def fetch_inputs(cell: Cell, ask: Ask) -> None:
    """Bring what a cell reads into the current folder, where it is not there yet.

    Raises:
        UserError: a cell that it builds on is not as it was finished.
    """
    if not data_folder(cell.dataset).is_dir():
        data_folder(cell.dataset).parent.mkdir(parents=True, exist_ok=True)
        unpack(ask("dataset", cell.dataset), data_folder(cell.dataset))
    keys = Keys(read_protocol())
    for earlier in built_on(cell, keys.protocol):
        key = keys.key(earlier)
        if store.finished(earlier, key) is None:
            receive(earlier, key, ask("finished_cell", earlier, key))
