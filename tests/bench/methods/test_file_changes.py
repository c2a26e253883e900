"""Several files changed together: an error or Ctrl-C at any call leaves everything as it was."""

import os
import signal
from pathlib import Path

import pytest

from bench.methods import file_changes
from bench.methods.file_changes import change_files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "gone").write_text("gone")
    return tmp_path


def changes(folder):
    return {folder / "new" / "file": b"new", folder / "gone": None, folder / "old": b"changed"}


def state(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_all_changes_are_made(folder):
    (folder / "old").chmod(0o640)
    change_files(changes(folder))
    assert state(folder) == {"new": False, "new/file": b"new", "old": b"changed"}
    assert (folder / "old").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [(os, "fsync", 2), (Path, "replace", 2), (Path, "unlink", 1), (Path, "mkdir", 3), (Path, "chmod", 2)],
)
def test_whichever_call_fails_everything_is_as_it_was(folder, monkeypatch, error, owner, name, calls):
    before, real = state(folder), getattr(owner, name)
    for failing in range(calls):
        count = iter(range(100))

        def fails(*arguments, failing=failing, count=count, **named):
            if next(count) == failing:
                raise error
            return real(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fails)
            with pytest.raises(error):
                change_files(changes(folder))
        assert state(folder) == before, failing


def test_a_real_ctrl_c_between_two_renames_is_undone(folder, monkeypatch):
    before, real = state(folder), Path.replace

    def replace(path, target):
        os.kill(os.getpid(), signal.SIGINT)
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(file_changes.Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            change_files(changes(folder))
    assert state(folder) == before
