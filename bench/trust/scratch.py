"""A scratch copy of the project's folder, in which a command can run without touching the real one.

It holds links to the data, so it costs nothing; what the command writes stays in the copy.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bench
from bench.cells.files import DATA
from bench.protocol.params_file import PARAMS


@contextmanager
def scratch_project() -> Iterator[Path]:
    """A temporary folder with this project's params.yaml and a link to its data."""
    with tempfile.TemporaryDirectory(prefix="imssl-bench-") as name:
        folder = Path(name)
        shutil.copy(PARAMS, folder / PARAMS)
        (folder / DATA).symlink_to(DATA.resolve())
        yield folder


def run_python(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with this interpreter and this copy of the suite, without the warm start."""
    suite = str(Path(bench.__file__).parents[1])
    path = os.pathsep.join(part for part in (suite, os.environ.get("PYTHONPATH", "")) if part)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "IMSSL_BENCH_WARM_START": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
