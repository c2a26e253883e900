"""DVC's own files after a kill, the inputs after an edit, and the Python that runs a stage."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bench.launch import repro
from bench.launch.dvc_state import (
    another_dvc,
    data_are_current,
    refuse_what_is_no_file,
    set_unreadable_aside,
)
from bench.launch.fill_store import FillRequest
from bench.launch.lay_out import refuse_links
from bench.launch.run_stage import run_stage
from bench.machine import interpreter
from bench.machine.interpreter import missing_libraries
from bench.protocol.protocol import read_protocol
from bench.stages import inputs
from bench.trust.verify.checksums import check_lock
from imssl.errors import UserError
from tests.bench.edit_harness import make_project
from tests.older_python import older_python

TORN = {
    "dvc.lock": [
        b"",
        b"schema: '2.0'\nstages:\n  inputs:\n    cmd: [",
        b"\0\0\0",
        b"stages: 3\n",
        b"\xff\xfe",
    ],
    ".dvc/tmp/rwlock": [b"", b'{"a": ', b"\0", b"[]"],
}


@pytest.mark.parametrize(("name", "content"), [(name, c) for name in TORN for c in TORN[name]])
def test_an_unreadable_file_of_dvc_is_set_aside(project, name, content):
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    (note,) = set_unreadable_aside()
    assert f"{name} could not be read" in note
    assert not file.exists()
    assert Path(f"{name}.unreadable").read_bytes() == content
    assert set_unreadable_aside() == []


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock", ".dvc/tmp/rwlock"])
def test_a_pipe_in_the_place_of_a_file_of_dvc_is_refused_and_not_waited_for(project, name):
    Path("dvc.yaml").write_text("stages: {}\n")
    refuse_what_is_no_file()
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).unlink(missing_ok=True)
    os.mkfifo(name)
    with pytest.raises(UserError, match=rf"^{re.escape(name)} is a named pipe, not a file\. Move it away\.$"):
        repro.run_dvc_repro([])
    if name == "dvc.lock":
        with pytest.raises(UserError, match=r"dvc\.lock is a named pipe, not a file"):
            check_lock()


def test_a_readable_file_of_dvc_stays(project):
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    Path(".dvc/tmp").mkdir(parents=True)
    Path(".dvc/tmp/rwlock").write_text("{}")
    assert set_unreadable_aside() == []
    assert Path("dvc.lock").exists()


def test_data_are_current_until_what_makes_them_changes(edited):
    protocol = edited("finetune:\n  epochs: 1", "finetune:\n  epochs: 1")
    assert not data_are_current(protocol)  # a project that has not run yet
    assert run_stage(["inputs"]) == 0
    for dataset in protocol.datasets:
        assert run_stage(["data", dataset]) == 0
    assert not data_are_current(protocol)  # DVC has noted nothing
    write_lock(protocol)
    assert data_are_current(protocol)
    assert data_are_current(edited("finetune:\n  epochs: 1", "finetune:\n  epochs: 2"))
    changed = edited("patients: 30\n    seed: 1", "patients: 30\n    seed: 3")
    assert not data_are_current(changed)
    assert run_stage(["inputs"]) == 0
    assert not data_are_current(changed)  # DVC has noted another state


def write_lock(protocol):
    """As much of dvc.lock as DVC writes after the stage ``data``."""
    stages = {}
    for dataset in protocol.datasets:
        file = inputs.INPUTS / f"data-{dataset}.json"
        checksum = hashlib.md5(file.read_bytes()).hexdigest()
        stages[f"data@{dataset}"] = {"deps": [{"path": file.as_posix(), "md5": checksum}]}
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))


def test_a_stage_under_other_settings_is_refused_and_says_what_to_run(edited, prepared_project, capsys):
    inputs.run(read_protocol())
    edited("finetune:\n  epochs: 1", "finetune:\n  epochs: 2")
    assert run_stage(["finetune", "chest", "moco"]) == 2
    assert "Run: dvc repro" in capsys.readouterr().err


def test_params_saved_while_the_inputs_are_written_are_reported(edited, project, capsys, monkeypatch):
    real = inputs.run

    def saved_meanwhile(protocol):
        real(protocol)
        edited("finetune:\n  epochs: 1", "finetune:\n  epochs: 2")

    monkeypatch.setattr(inputs, "run", saved_meanwhile)
    assert run_stage(["inputs"]) == 2
    assert "params.yaml was saved while the stage inputs ran. Run: dvc repro" in capsys.readouterr().err


def test_dvc_never_holds_the_inputs_for_up_to_date():
    """Else an edit while they are written would be noted as what they were made from."""
    root = Path(interpreter.__file__).parents[2]
    assert YAML(typ="safe").load(root / "dvc.yaml")["stages"]["inputs"]["always_changed"] is True


LINKS = {
    "results": ["inputs"],
    "results/inputs": ["inputs"],
    "data": ["data", "chest"],
    "data/chest": ["data", "chest"],
    "reports": ["report"],
    "results/chest": ["pretrain", "chest", "moco"],
    "results/chest/ks": ["ks", "chest"],
}


@pytest.mark.parametrize("link", LINKS)
def test_every_stage_refuses_an_output_that_leads_out_of_the_project(project, tmp_path_factory, capsys, link):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Path(link).parent.mkdir(parents=True, exist_ok=True)
    Path(link).symlink_to(elsewhere)
    assert run_stage(LINKS[link]) == 2
    assert "leads out of the project" in capsys.readouterr().err
    Path("dvc.yaml").touch()
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    with pytest.raises(UserError, match="leads out of the project"):
        repro.run(FillRequest())
    assert not list(elsewhere.iterdir())


def test_an_output_that_leads_out_of_the_project_is_refused(prepared_project, tmp_path_factory, capsys):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Path("results").mkdir()
    Path("results/chest").symlink_to(elsewhere)
    assert run_stage(["pretrain", "chest", "random-init"]) == 2
    assert "leads out of the project" in capsys.readouterr().err
    assert not list(elsewhere.iterdir())
    with pytest.raises(UserError, match="Replace the link by a folder"):
        refuse_links([Path("results/chest/ks")])
    refuse_links([Path("results/fundus/ks"), Path("data/chest")])


def test_a_python_without_the_libraries_says_what_it_lacks_and_the_ways_out(tmp_path):
    assert missing_libraries("this stage") == ""
    root = Path(interpreter.__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-S", "-E", "-m", "bench.stage", "inputs"],
        cwd=root,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert f"started by {sys.executable}" in ended.stderr
    for words in ("lacks numpy, pandas", "source .venv/bin/activate", ".venv/bin/bench repro"):
        assert words in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["without the libraries", "too old"])
def test_dvc_runs_without_the_environment_activated(tmp_path, kind):
    """``.venv/bin/dvc repro``, where the one Python on the path is another, and called ``python3`` only."""
    other = older_python("3.8") if kind == "too old" else Path(sys.base_prefix, "bin", "python3")
    if other is None or not other.exists():
        pytest.skip(f"there is no python {kind} here")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(other)
    make_project(tmp_path / "project")
    ended = subprocess.run(
        [Path(sys.executable).parent / "dvc", "repro", "data@chest"],
        cwd=tmp_path / "project",
        env={"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "project/data/chest/card.json").is_file()


# In the place of DVC: a file of that name, which starts a shell that starts a stage, as DVC does.
AS_DVC = """#!{interpreter}
import subprocess
subprocess.run("python3 {stage}", shell=True)
"""
# In the place of the stage: it says on what it would start anew.
AS_STAGE = """
from bench.machine import interpreter

interpreter.NEEDED = ({needed!r},)
interpreter.os.execve = lambda path, arguments, environment: print(path, arguments[1:3])
interpreter.use_dvcs_interpreter()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tell")
@pytest.mark.parametrize("needed", ["json", "no_such_library"])
def test_a_stage_runs_on_the_interpreter_of_dvc_where_that_has_the_libraries(tmp_path, needed):
    """The first ``python3`` on the path is another one, as without the environment activated."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "python3").symlink_to(sys.executable)
    (tmp_path / "stage.py").write_text(AS_STAGE.format(needed=needed))
    dvc = tmp_path / "dvc"
    dvc.write_text(AS_DVC.format(interpreter=sys.executable, stage=tmp_path / "stage.py"))
    dvc.chmod(0o755)
    path = f"{tmp_path / 'other'}{os.pathsep}{os.environ['PATH']}"
    root = Path(interpreter.__file__).parents[2]
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(root)}
    ended = subprocess.run([dvc], env=environment, capture_output=True, text=True, check=False)
    taken = f"{sys.executable} ['-m', 'bench.stage']\n" if needed == "json" else ""
    assert (ended.stdout, ended.stderr) == (taken, "")


def test_another_dvc_is_named_as_long_as_it_lives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert another_dvc() == ""
    lock = Path(".dvc/tmp/rwlock")
    lock.parent.mkdir(parents=True)
    process = subprocess.Popen(["sleep", "60"])
    use = {"pid": process.pid, "cmd": "dvc repro finetune@chest-moco"}
    lock.write_text(
        json.dumps({"/x/results/inputs": {"write": use, "read": []}, "/x/bench": {"read": [use]}})
    )
    try:
        assert another_dvc() == f"dvc repro finetune@chest-moco (process {process.pid})"
    finally:
        process.kill()
        process.wait()
    assert another_dvc() == ""


@pytest.mark.parametrize("content", TORN[".dvc/tmp/rwlock"] + [b'{"a": 1}', b'{"a": {"write": {}}}'])
def test_a_lock_that_says_nothing_names_nobody(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    Path(".dvc/tmp").mkdir(parents=True)
    Path(".dvc/tmp/rwlock").write_bytes(content)
    assert another_dvc() == ""


@pytest.mark.parametrize(("status", "is_said"), [(0, False), (1, True), (130, False)])
def test_what_dvc_keeps_to_itself_can_be_heard(monkeypatch, capsys, status, is_said):
    monkeypatch.setattr(repro, "_dvc", lambda arguments: status)
    assert repro._brought_up_to_date("data@chest", "data@a b") == status
    assert ("dvc repro data@chest 'data@a b'" in capsys.readouterr().err) == is_said
