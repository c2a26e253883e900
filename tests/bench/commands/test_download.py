import shutil
from collections import namedtuple
from pathlib import Path

import medmnist as package
import pytest

from bench.commands.data_and_methods import download as module
from bench.commands.data_and_methods.download import download
from bench.protocol.protocol import read_protocol
from bench.stages.data import run
from imssl.datasets import kaggle, medmnist
from imssl.errors import UserError

TINY = (Path(__file__).parents[1] / "tiny.yaml").read_text(encoding="utf-8")
PHANTOM = "source: phantom\n    kind: chest\n    patients: 30\n    seed: 1"
EYES = "source: eyepacs\n    grading: five\n    path: raw/eyes"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with the settings given for ``chest``; what Kaggle's client would have fetched."""
    monkeypatch.chdir(tmp_path)
    fetched = []
    monkeypatch.setattr(kaggle, "fetch", lambda page, path: fetched.append((page.slug, path)))

    def write(settings):
        Path("params.yaml").write_text(TINY.replace(PHANTOM, settings), encoding="utf-8")
        return fetched

    return write


def test_size_and_place_are_said_before_the_download(project, tmp_path, capsys, monkeypatch):
    fetched = project(EYES)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12))
    download(["chest"], dry_run=True)
    said = capsys.readouterr().out
    assert f"about 88 GB, to {tmp_path / 'raw' / 'eyes'}" in said
    assert fetched == []
    download(["chest"], dry_run=False)
    assert fetched == [("diabetic-retinopathy-detection", tmp_path / "raw" / "eyes")]


def test_what_is_there_is_not_downloaded_again(project, tmp_path, capsys):
    fetched = project(EYES)
    (tmp_path / "raw" / "eyes").mkdir(parents=True)
    download(["chest"], dry_run=False)
    assert "is there already" in capsys.readouterr().out
    assert fetched == []


def test_a_disk_that_is_too_small_is_said_first(project, monkeypatch):
    fetched = project(EYES)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9))
    with pytest.raises(UserError, match="has 1 GB left"):
        download(["chest"], dry_run=False)
    assert fetched == []


def test_medmnist_comes_from_its_publisher(project, tmp_path, monkeypatch, capsys):
    project("source: medmnist\n    flag: breastmnist\n    resolution: 64\n    path: raw")
    monkeypatch.setattr(medmnist, "size_of", lambda published: None)
    files = []
    monkeypatch.setattr(medmnist, "download", lambda published: files.append(published.file))
    download(["chest"], dry_run=False)
    assert package.INFO["breastmnist"]["url_64"] in capsys.readouterr().out
    assert files == [tmp_path / "raw" / "breastmnist_64.npz"]


def test_what_cannot_be_downloaded_is_refused(project):
    project(PHANTOM)
    with pytest.raises(UserError, match="chest: the source phantom has nothing to download"):
        download(["chest"], dry_run=False)
    with pytest.raises(UserError, match=r"heart is not in params\.yaml; there are: chest"):
        download(["heart"], dry_run=False)


@pytest.mark.parametrize(
    "settings",
    [
        EYES,
        "source: nih\n    path: raw/nih",
        "source: idc\n    path: raw/idc.zip",
        "source: medmnist\n    flag: breastmnist\n    resolution: 28\n    path: raw",
        "source: nih\n    path: ~/data/nih",
    ],
)
def test_the_stage_never_downloads_and_names_the_command(project, monkeypatch, tmp_path, settings):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    fetched = project(settings)
    with pytest.raises(UserError, match=r"(?s)does not exist.*bench download chest"):
        run("chest", read_protocol())
    assert fetched == []
    assert not Path("~").exists()
    assert not Path("raw").exists()


@pytest.mark.parametrize(
    ("size", "text"), [(45e9, "45 GB"), (3.3e9, "3.3 GB"), (156_789, "157 kB"), (12, "12 bytes")]
)
def test_sizes_are_shown_as_people_read_them(size, text):
    assert module._shown(int(size)) == text
