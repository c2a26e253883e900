"""``bench init``: what it writes, and what it refuses."""

import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import bench
from bench.project import version_control
from bench.project.initialise import initialise
from bench.project.pipeline import pipeline
from bench.project.repository_files import PLACES, repository_file
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError

ROOT = Path(bench.__file__).parents[1]
NEEDS_GIT = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@NEEDS_GIT
def test_a_project_has_what_the_commands_read(tmp_path, monkeypatch):
    folder = tmp_path / "a" / "study"
    notes = initialise(folder, "demo", None, wants_git=True)
    assert "is a project" in notes[0]
    assert "no version control" not in notes[0]
    monkeypatch.chdir(folder)
    assert read_protocol().profile == "demo"
    for name in (
        "dvc.yaml",
        ".gitignore",
        ".dvcignore",
        ".dvc/config",
        ".dvc/.gitignore",
        "methods/README.md",
    ):
        assert (folder / name).is_file(), name
    assert "html_template" in (folder / ".dvc" / "config").read_text()
    assert (folder / ".dvc/plots/by_data_set.json").read_text() == repository_file("plots/by_data_set.json")
    listed = subprocess.run(["git", "status", "--short", "-uall"], capture_output=True, text=True, check=True)
    assert "?? params.yaml" in listed.stdout.splitlines()


def test_without_git_dvc_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(version_control.shutil, "which", lambda name: None)
    notes = initialise(tmp_path / "study", "demo", None, wants_git=True)
    assert "no version control" in notes[0]
    config = (tmp_path / "study" / ".dvc" / "config").read_text()
    assert config.startswith("[core]\n    no_scm = true\n")
    assert not (tmp_path / "study" / ".gitignore").exists()


def test_the_pipeline_is_the_repositorys_but_for_the_code():
    written, own = (YAML(typ="safe").load(text) for text in ((ROOT / "dvc.yaml").read_text(), pipeline()))
    assert own["stages"]["inputs"].pop("deps") == ["methods"]
    assert own["stages"]["report"].pop("deps") == ["data", "results"]
    assert written["stages"]["inputs"].pop("deps") == ["bench", "imssl"]
    assert written["stages"]["report"].pop("deps") == ["bench", "data", "results"]
    assert own == written


def test_what_is_there_is_never_written_over(tmp_path):
    (tmp_path / "dvc.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"has dvc\.yaml already, and nothing was written"):
        initialise(tmp_path, "demo", None, wants_git=True)
    assert [path.name for path in tmp_path.iterdir()] == ["dvc.yaml"]
    with pytest.raises(UserError, match="is a file"):
        initialise(tmp_path / "dvc.yaml", "demo", None, wants_git=True)


def test_a_profile_that_cannot_be_used_leaves_nothing(tmp_path):
    for profile, message in (("demmo", "no profile demmo"), ("paper", "--data-dir")):
        with pytest.raises(UserError, match=message):
            initialise(tmp_path / "study", profile, None, wants_git=True)
        assert not (tmp_path / "study").exists()


def test_the_wheel_brings_every_file_of_the_repository():
    tomllib = pytest.importorskip("tomllib")
    shares = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    brought = {place for places in shares.values() for place in places}
    assert brought == set(PLACES.values())
