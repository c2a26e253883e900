import errno
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.cells.store.held_cells import this_process
from bench.launch.run_stage import run_stage
from bench.machine import lock
from bench.stages import inputs
from imssl.errors import UserError

ROOT = Path(lock.__file__).parents[2]


@pytest.fixture
def holder(project):
    """Another process that holds the lock, shared or alone, until its input ends."""
    started = []

    def hold(how: str) -> subprocess.Popen:
        program = (
            f"import sys; from bench.machine import lock\n"
            f"with lock.{how}('bench somewhere'): print('held', flush=True); sys.stdin.read()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", ["shared", "alone"])
def test_a_command_that_needs_the_folder_alone_says_who_is_at_work(holder, how):
    process = holder(how)
    with (
        pytest.raises(UserError, match=rf"bench somewhere \(process {process.pid}, since 2\d\d\d-"),
        lock.alone("x"),
    ):
        pass


@pytest.mark.parametrize("how", [lock.shared, lock.alone])
def test_a_command_that_made_nothing_leaves_nothing_behind(project, how):
    with how("x"):
        assert lock.LOCK.exists()
    assert not lock.STORE.exists()
    with how("x"):
        (lock.STORE / "cells").mkdir()
    with how("x"):
        pass
    assert lock.LOCK.exists()


def test_nothing_is_left_behind_only_when_nobody_else_is_there(holder):
    process = holder("shared")
    with lock.shared("another"):
        process.communicate("")  # it found nothing, and leaves
        assert lock.LOCK.exists()
        with pytest.raises(UserError, match="another"), lock.alone("x"):
            pass


def test_a_lock_that_was_removed_while_one_waited_is_not_held(project, monkeypatch, capsys):
    """Otherwise two processes would hold two different files of the same name."""
    real_open, opened = lock._open_lock, []

    def open_lock():
        opened.append(real_open())
        if len(opened) == 1:
            lock.LOCK.unlink()
        return opened[-1]

    monkeypatch.setattr(lock, "_open_lock", open_lock)
    with lock.alone("x"):
        assert len(opened) == 2
        assert os.fstat(opened[1]).st_ino == lock.LOCK.stat().st_ino


def test_a_process_that_outlives_the_first_command_keeps_nobody_out(project, capsys):
    with lock.shared("x"):
        (lock.STORE / "cells").mkdir()
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
        process.start()
    with lock.shared("y"):
        assert "waiting" not in capsys.readouterr().err
    process.kill()


def test_stages_run_side_by_side(holder, capsys):
    holder("shared")
    with lock.shared("another stage"):
        pass
    assert capsys.readouterr().err == ""


def test_a_stage_waits_for_a_command_that_is_alone(holder, capsys, monkeypatch):
    process = holder("alone")
    taken = []
    flock = lock.fcntl.flock

    def after_the_other(descriptor: int, operation: int) -> None:
        if operation == lock.fcntl.LOCK_SH:  # it is going to block: let the other one end
            process.communicate()
        taken.append(operation)
        flock(descriptor, operation)

    monkeypatch.setattr(lock.fcntl, "flock", after_the_other)
    with lock.shared("a stage"):
        (file,) = lock.HOLDERS.glob(f"shared-{os.getpid()}-*.json")
        assert json.loads(file.read_text())["command"] == "a stage"
    assert lock.fcntl.LOCK_SH in taken
    assert f"waiting for bench somewhere (process {process.pid}" in capsys.readouterr().err


def test_a_killed_holder_is_none(holder):
    process = holder("alone")
    process.kill()
    process.wait()
    (left,) = lock.HOLDERS.glob(f"alone-{process.pid}-*.json")
    with lock.alone("x"):
        assert not left.exists()


def test_the_verbs_that_write_are_refused_while_a_stage_runs(holder, project):
    holder("shared")
    before = (project / "params.yaml").read_bytes()
    for command in (["profile", "use", "demo", "--force"], ["clean", "--yes"]):
        ended = subprocess.run(
            [sys.executable, "-m", "bench", *command],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2
        assert "bench somewhere (process" in ended.stderr
        assert "Traceback" not in ended.stderr
    assert (project / "params.yaml").read_bytes() == before
    assert not (project / "reports").exists()


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ("finetune:\n  epochs: 1", "finetune:\n  epochs: 2", {"finetune"}),
        ("  moco:\n    hidden: 16", "  moco:\n    hidden: 8", {"pretrain"}),
        ("level: 0.9", "level: 0.8", {"report"}),
        ("patients: 30\n    seed: 1", "patients: 30\n    seed: 3", {"data"}),
    ],
)
def test_a_stage_does_not_run_under_settings_that_changed_on_the_way(edited, project, old, new, refused):
    inputs.run(edited(old, old))
    protocol = edited(old, new)
    for stage in ("data", "pretrain", "finetune", "ks", "report"):
        dataset = "" if stage == "report" else "chest"
        method = "moco" if stage in ("pretrain", "finetune") else ""
        if stage in refused:
            with pytest.raises(UserError, match="has changed since this run began"):
                inputs.check_unchanged(stage, dataset, method, protocol)
        else:
            inputs.check_unchanged(stage, dataset, method, protocol)


def test_the_message_of_changed_settings_is_the_stages(edited, prepared_project, capsys):
    inputs.run(edited("finetune:\n  epochs: 1", "finetune:\n  epochs: 1"))
    edited("finetune:\n  epochs: 1", "finetune:\n  epochs: 2")
    assert run_stage(["finetune", "chest", "moco"]) == 2
    assert "Run: dvc repro" in capsys.readouterr().err


def test_the_files_of_dead_holders_are_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock.HOLDERS.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    living = this_process("dvc repro")
    holders = {"dead": replace(living, process=ended.pid), "living": living}
    for name, holder in holders.items():
        (lock.HOLDERS / f"{name}.json").write_text(json.dumps(asdict(holder)))
    (lock.HOLDERS / "torn.json").write_text("{}")
    with lock.alone("bench report"):
        left = {file.stem for file in lock.HOLDERS.iterdir()}
    assert left - {"living"} == {name for name in left if name.startswith(f"alone-{os.getpid()}-")}
    assert len(left) == 2


@pytest.fixture
def no_flock(monkeypatch):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)


def test_without_flock_the_holders_files_are_the_lock(project, no_flock):
    with lock.shared("a stage"):
        with lock.shared("another stage"):
            pass
        with (
            pytest.raises(UserError, match=r"a stage \(process .* delete \.bench/holders/shared-"),
            lock.alone("x"),
        ):
            pass
    with lock.alone("x"):
        pass
    assert not list(lock.HOLDERS.iterdir())


def test_without_flock_a_stage_waits_for_a_command_that_is_alone(holder, no_flock, capsys):
    process = holder("alone")
    timer = threading.Timer(0.5, process.kill)
    timer.start()
    with lock.shared("a stage"):
        assert process.wait(timeout=600) == -9
    assert f"waiting for bench somewhere (process {process.pid}" in capsys.readouterr().err
