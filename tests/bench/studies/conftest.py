import shutil
from pathlib import Path

import pytest

from bench.protocol.protocol import read_protocol
from bench.studies.pack import pack
from bench.studies.reports import write_derived
from bench.studies.stored.files import study_folder


@pytest.fixture(scope="package")
def published(shared_run: Path, tmp_path_factory) -> Path:
    """A finished run and the study that it was packed into; copy it."""
    folder = tmp_path_factory.mktemp("published") / "checkout"
    shutil.copytree(shared_run, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("IMSSL_BENCH_WORKERS", "1")
        packed = pack("first", read_protocol(), tell=lambda _: None)
        assert [chain.method for chain in packed.new] == ["random-init", "moco"]
        assert packed.unfinished == []
        write_derived(packed.study)
    return folder


@pytest.fixture
def here(published: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of it as the current folder; its study's folder."""
    shutil.copytree(published, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "1")
    return study_folder("first")
