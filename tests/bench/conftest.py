import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bench.launch.run_stage import run_stage
from bench.protocol.protocol import Protocol, read_protocol
from bench.report.leaderboard import write_reports
from bench.stages import data
from tests.bench.small_run import small_protocol, write_run
from tests.bench.stage_calls import stage_calls
from tests.project_copy import TINY, copy_packages, tiny_without


@pytest.fixture
def tiny() -> str:
    """params.yaml of a protocol that runs in seconds."""
    return TINY


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project in the current folder: params.yaml and nothing else."""
    (tmp_path / "params.yaml").write_text(TINY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def edited(project: Path) -> Callable[[str, str], Protocol]:
    """Replace one passage of params.yaml and read it again."""

    def edit(old: str, new: str) -> Protocol:
        file = project / "params.yaml"
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        file.write_text(text.replace(old, new), encoding="utf-8")
        return read_protocol()

    return edit


@pytest.fixture(scope="session")
def prepared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the tiny protocol; do not change it, copy it."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "params.yaml").write_text(TINY, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        protocol = read_protocol()
        for dataset in protocol.datasets:
            data.run(dataset, protocol)
    return folder / "data"


@pytest.fixture
def prepared_project(project: Path, prepared_data: Path) -> Path:
    """A project whose data sets are prepared."""
    shutil.copytree(prepared_data, project / "data")
    return project


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run that has one hole of each kind, and its report; do not change it."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_run(small_protocol())
        write_reports(small_protocol())
    return folder


@dataclass
class Copy:
    """A copy of the project, and a process in it that runs ``bench`` quickly."""

    folder: Path
    process: subprocess.Popen

    def bench(self, *arguments: str, **request) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        files = {name: str(self.folder.parent / name) for name in ("out", "err")}
        line = json.dumps({"arguments": arguments, **files, **request})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        out, err = (Path(file).read_text() for file in files.values())
        assert "Traceback" not in out + err, out + err
        return status, out, err

    @staticmethod
    def environment(folder: Path) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(folder), "TERM": "dumb", "PYTHONDONTWRITEBYTECODE": "1"}

    def write(self, name: str, text: str | bytes) -> str:
        """A method file beside the project; its path."""
        file = self.folder.parent / "files" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(file)

    def state(self) -> dict[str, str]:
        """Digests of what the verbs may touch, and whatever else lies beside it."""
        places = (self.folder, self.folder / "imssl" / "methods", self.folder / "bench" / "checked")
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for place in places
            for path in place.glob("*")
            if path.is_file()
        }

    @property
    def methods(self) -> dict[str, dict[str, object]]:
        return YAML(typ="safe").load((self.folder / "params.yaml").read_text())["methods"]


@pytest.fixture(scope="session")
def warm(tmp_path_factory) -> Iterator[Copy]:
    folder = tmp_path_factory.mktemp("commands") / "project"
    folder.mkdir()
    copy_packages(folder, "checked")
    (folder / "params.yaml").write_text(TINY)
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "warm_bench.py")],
        cwd=folder,
        env=Copy.environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Copy(folder, process)
        process.stdin.close()


@pytest.fixture
def copy(warm) -> Iterator[Copy]:
    """The copy as it was at first, before each test."""
    params = (warm.folder / "params.yaml").read_bytes()
    there = set(warm.state())
    yield warm
    (warm.folder / "params.yaml").write_bytes(params)
    for name in set(warm.state()) - there:
        (warm.folder / name).unlink()


@pytest.fixture(scope="session")
def shared_run(prepared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two methods on one data set, as `dvc pull` leaves it: no store. Copy it."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "params.yaml").write_text(tiny_without("fundus", "moco-barlow"))
    shutil.copytree(prepared_data / "chest", folder / "data" / "chest")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("IMSSL_BENCH_WORKERS", "1")
        for arguments in [["inputs"], *stage_calls("chest", read_protocol())]:
            assert run_stage(arguments) == 0
    shutil.rmtree(folder / ".bench")
    return folder


@pytest.fixture
def copy_of_run(shared_run: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies of the run, by name."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(shared_run, tmp_path / name))

    return copy


@pytest.fixture
def checkout(copy_of_run: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run as the current folder."""
    folder = copy_of_run("here")
    monkeypatch.chdir(folder)
    return folder
