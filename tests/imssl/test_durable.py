"""The order of writes: content on the disk, then the name, then the folder that holds the name."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.cells import store
from bench.cells.files import CELL_FILE
from bench.cells.records import Provenance
from bench.protocol.cell import Cell
from imssl.checkpoint import save_checkpoint
from imssl.datasets.phantom import source
from imssl.datasets.prepare import prepare
from imssl.durable import give_final_name, sync, sync_tree, write_bytes, write_text, written_beside

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="traced through /proc")


@pytest.fixture
def trace(monkeypatch):
    """("sync", file) with the size it had and ("name", file) in the order in which they happened."""
    happened = []
    fsync, rename = os.fsync, os.rename

    def traced_fsync(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        happened.append(("sync", path, None if path.is_dir() else path.stat().st_size))
        fsync(descriptor)

    def traced(real):
        def move(source, target, **settings):
            happened.append(("name", Path(source).resolve(), Path(target).absolute()))
            real(source, target, **settings)

        return move

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "rename", traced(rename))
    monkeypatch.setattr(os, "replace", traced(os.replace))
    return happened


def assert_durable(trace, target):
    """The last renaming to a name: all of the content was synced before it, the folder after it."""
    place = max(n for n, (kind, _, to) in enumerate(trace) if kind == "name" and to == target)
    source = trace[place][1]
    files = [target] if target.is_file() else [path for path in target.rglob("*") if path.is_file()]
    for file in files:
        name = source if target.is_file() else source / file.relative_to(target)
        assert ("sync", name, file.stat().st_size) in trace[:place], name
    assert ("sync", target.parent, None) in trace[place:]


def test_two_processes_write_a_file_under_different_names(tmp_path):
    """Nothing of what one has written is in the other's content, and neither fails."""
    file = tmp_path / "a.json"
    with written_beside(file) as partial, written_beside(file) as of_another:
        partial.write_text("longer than the other")
        of_another.write_text("short")
        of_another.replace(file)
        assert file.read_text() == "short"
        partial.replace(file)
    assert file.read_text() == "longer than the other"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_text(file, "first")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(file, "second")
    assert [(path, path.read_text()) for path in tmp_path.iterdir()] == [(file, "first")]


def test_a_file_may_be_read_by_those_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.json", "{}")
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


def test_a_text_and_bytes(tmp_path, trace):
    write_text(tmp_path / "a.json", "{}")
    write_bytes(tmp_path / "b.bin", b"\0" * 100_000)
    assert_durable(trace, tmp_path / "a.json")
    assert_durable(trace, tmp_path / "b.bin")


def test_a_checkpoint_and_the_one_before_it(tmp_path, trace):
    file = tmp_path / "cell.checkpoint"
    save_checkpoint(file, {"step": 1}, "run")
    save_checkpoint(file, {"step": 2}, "run")
    assert_durable(trace, file)
    names = [to.name for kind, _, to in trace if kind == "name"]
    assert names == ["cell.checkpoint", "cell.previous", "cell.checkpoint"]


def test_a_finished_cell(tmp_path, trace, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell, key = Cell("pretrain", "chest", "moco", 0), "ab" * 32
    origin = Provenance(
        started="", seconds=1, commit=None, clean=None, device="", python="", packages={}, command=""
    )
    with store.writing(cell, key) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "weights").write_bytes(b"\1" * 5000)
        np.savez(folder / "features.npz", x=np.arange(3))
        store.keep(folder, cell, key, origin)
    assert (store.cell_folder(cell, key) / CELL_FILE).exists()
    assert_durable(trace, store.cell_folder(cell, key).absolute())


def test_a_prepared_data_set_has_its_card_last(tmp_path, trace):
    folder = tmp_path / "out"
    prepare(
        source("fundus", patients=10, size=8, seed=0),
        name="fundus",
        size=8,
        channels=3,
        split_seed=0,
        on_bad_image="error",
        folder=folder,
    )
    names = [to.name for kind, _, to in trace if kind == "name"]
    assert names == ["images.npy", "samples.csv", "card.json"]
    for name in names:
        assert_durable(trace, folder / name)


def test_a_failed_sync_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(file, "new")
    monkeypatch.undo()
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_system_that_cannot_sync_folders_is_borne(tmp_path, monkeypatch):
    def refuse(_descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    (tmp_path / "partial").write_text("x")
    give_final_name(tmp_path / "partial", tmp_path / "whole")
    sync_tree(tmp_path)
    sync(tmp_path)
    assert (tmp_path / "whole").read_text() == "x"
