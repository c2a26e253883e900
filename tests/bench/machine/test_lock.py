import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
        assert json.loads((lock.HOLDERS / f"{os.getpid()}.json").read_text())["command"] == "a stage"
    assert taken[-1] == lock.fcntl.LOCK_SH
    assert f"waiting for bench somewhere (process {process.pid}" in capsys.readouterr().err


def test_a_killed_holder_is_none(holder):
    process = holder("alone")
    process.kill()
    process.wait()
    assert (lock.HOLDERS / f"{process.pid}.json").exists()
    with lock.alone("x"):
        pass


def test_the_verbs_that_write_are_refused_while_a_stage_runs(holder, project):
    holder("shared")
    before = (project / "params.yaml").read_bytes()
    for command in (["profile", "use", "demo", "--force"], ["report"]):
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
