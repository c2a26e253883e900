"""Small projects with a warm start of their own."""

import contextlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
import imssl
from tests.bench.launch.warm_start.project import RUN_STAGE, Project

# What is imported before the stage itself.
COPIED = (
    "__init__.py",
    "stage.py",
    *(f"launch/{name}.py" for name in ("__init__", "warm_start", "warm_server")),
    *(f"machine/{name}.py" for name in ("__init__", "failures", "interpreter", "stop", "system", "watched")),
    *(
        f"protocol/{name}.py"
        for name in ("__init__", "source_files/__init__", "source_files/at_start", "source_files/places")
    ),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name in COPIED:
        (folder / "bench" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(bench.__file__).parent / name, folder / "bench" / name)
    (folder / "imssl").mkdir()
    for name in ("__init__.py", "durable.py", "errors.py", "operating_system.py"):
        shutil.copy(Path(imssl.__file__).parent / name, folder / "imssl" / name)
    (folder / "bench" / "launch" / "run_stage.py").write_text(RUN_STAGE)
    file = folder / "bench" / "launch" / "warm_server.py"
    few = 'LIBRARIES = ("decimal",)'
    text, count = re.subn(r"LIBRARIES = \(.*?\n\)", few, file.read_text(), flags=re.DOTALL)
    assert count == 1
    file.write_text(text)
    return folder


@pytest.fixture
def project(source: Path, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(source, tmp_path / "project")
    # Addresses of sockets must be short, and pytest's folders are not.
    temporary = Path(tempfile.mkdtemp(prefix="ib", dir="/tmp"))
    project = Project(tmp_path / "project", temporary)
    yield project
    if list(temporary.glob("*/*.sock")):
        project.server()
    for server in project.servers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)
    shutil.rmtree(temporary)
