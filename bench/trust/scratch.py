"""A scratch copy of the project's folder, in which a command can run without touching the real one.

It holds links to the data, so it costs nothing; what the command writes stays in the copy.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bench
from bench.cells.files import CELL_FILE, DATA, PROVENANCE_FILE, STORE
from bench.cells.records import provenance_file, read_record
from bench.protocol.cell import Cell
from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import read_protocol
from bench.protocol.source_files.places import own_methods
from bench.protocol.starting_points import weights_files
from imssl.paths import expanded

SUITE = Path(bench.__file__).parents[1]


@contextmanager
def scratch_project(params: Path = PARAMS) -> Iterator[Path]:
    """A temporary folder with a params.yaml and links to this project's methods, data and weights."""
    with tempfile.TemporaryDirectory(prefix="imssl-bench-") as temporary:
        weights = [expanded(name) for name in weights_files(read_protocol(params))]
        # So deep that ../weights.pth, too, leads to a link in the temporary folder.
        depth = max((file.parts.count("..") for file in weights), default=0)
        folder = Path(temporary, *["project"] * (depth + 1))
        folder.mkdir(parents=True)
        shutil.copy(params, folder / PARAMS)
        (folder / DATA).symlink_to(DATA.resolve())
        if own_methods().is_dir():
            (folder / own_methods().name).symlink_to(own_methods())
        for file in weights:
            link = folder / file  # an absolute path stays what it is
            if file.exists() and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.resolve())
        yield folder


def lend_cell(kept: Path, cell: Cell, folder: Path) -> None:
    """Put a finished cell into the store of a scratch project, by links to its files.

    Args:
        kept: folder in which it lies here, among the results or in the store.
        cell: which.
        folder: of the scratch project.

    Raises:
        UserError: its record or provenance cannot be read.
    """
    record = read_record(kept)
    if record is None:
        return
    lent = folder / STORE / "cells" / cell.stage / record.key
    files = {name: kept / name for name in (CELL_FILE, *record.files)}
    for name, file in {**files, PROVENANCE_FILE: provenance_file(kept)}.items():
        (lent / name).parent.mkdir(parents=True, exist_ok=True)
        (lent / name).symlink_to(file.resolve())


def run_python(
    folder: Path,
    arguments: Sequence[str],
    on_line: Callable[[str], None] = lambda line: None,
    suite: Path = SUITE,
) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with this interpreter and a copy of the suite, without the warm start.

    Its store is the folder's own, also where IMSSL_BENCH_STORE names a shared one.

    Args:
        folder: in which it runs.
        arguments: of Python.
        on_line: called with each line of its standard output as it comes.
        suite: the folder with the packages bench and imssl; this copy's where it is not given.
    """
    path = os.pathsep.join(part for part in (str(suite), os.environ.get("PYTHONPATH", "")) if part)
    command, lines = [sys.executable, *arguments], list[str]()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path, "IMSSL_BENCH_WARM_START": "0", "IMSSL_BENCH_STORE": ""},
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        for line in process.stdout or ():
            lines.append(line)
            on_line(line)
        status = process.wait()
        errors.seek(0)
        return subprocess.CompletedProcess(command, status, "".join(lines), errors.read())
