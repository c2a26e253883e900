import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.protocol import Protocol, read_protocol
from bench.report.leaderboard import write_reports
from bench.stages import data
from tests.bench.small_run import small_protocol, write_run

TINY = (Path(__file__).parent / "tiny.yaml").read_text(encoding="utf-8")


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
