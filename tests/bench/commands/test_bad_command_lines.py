"""Wrong command lines: exit status 2, one message, and nothing is changed."""

import os
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.launch.run_stage import run_stage

# name: (arguments, words of the message)
COMMANDS = {
    "an unknown verb": (["repair"], ["No such command", "repair"]),
    "an unknown option": (["check", "--fast"], ["No such option", "--fast"]),
    "an argument too many": (["check", "params.yaml"], ["unexpected extra argument"]),
    "an option of another verb": (["report", "--force"], ["No such option", "--force"]),
    "a value for a flag": (["report", "--open=yes"], ["--open"]),
    "no name of a profile": (["profile", "use"], ["Missing argument"]),
    "an unknown profile": (["profile", "use", "huge"], ["no profile huge", "demo, small, study-medmnist"]),
    "an empty profile": (["profile", "use", ""], ["no profile"]),
    "a profile that escapes": (["profile", "use", "../../etc/passwd"], ["no profile ../../etc/passwd"]),
    "a profile in capitals": (["profile", "use", "DEMO"], ["no profile DEMO"]),
    "two profiles": (["profile", "use", "demo", "small"], ["unexpected extra argument"]),
    "an unknown verb of profile": (["profile", "write"], ["No such command"]),
    "no data folder": (["profile", "use", "paper", "--force"], ["--data-dir DIR"]),
    "no value of an option": (["profile", "use", "paper", "--data-dir"], ["requires an argument"]),
    "a data folder that is not there": (
        ["profile", "use", "paper", "--data-dir", "none", "--force"],
        ["--data-dir none", "no such folder"],
    ),
    "a file for a data folder": (
        ["profile", "use", "small", "--data-dir", "params.yaml", "--force"],
        ["--data-dir params.yaml", "no such folder"],
    ),
    "an edited params.yaml": (["profile", "use", "demo"], ["--force"]),
    "a name that is not UTF-8": (
        ["profile", "use", "medmnist", "--data-dir", "bad-\udcff", "--force"],
        ["not UTF-8", "rename"],
    ),
    "an engine that is mistyped": (["run", "--on", "slurmm"], ["no such engine", "Did you mean slurm?"]),
    "repro where there is no project": (["repro"], ["no dvc.yaml"]),
}


def files_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if ".bench" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_wrong_command_line_is_status_2(project, monkeypatch, capsys, case):
    arguments, words = COMMANDS[case]
    (project / os.fsdecode(b"bad-\xff")).mkdir()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    before = files_of(project)
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert [word for word in words if word not in captured.err] == []
    assert "Traceback" not in captured.err
    assert files_of(project) == before


STAGES = {
    "no stage": ([], ["usage"]),
    "an unknown stage": (["train"], ["usage"]),
    "a path for a stage": (["../data", "chest"], ["usage"]),
    "no data set": (["data"], ["usage"]),
    "no method": (["finetune", "chest"], ["usage"]),
    "one too many": (["ks", "chest", "moco"], ["usage"]),
    "an unknown data set": (["data", "lungs"], ["dataset lungs", "chest, fundus"]),
    "a data set that escapes": (["data", "../chest"], ["dataset ../chest"]),
    "an unknown method": (["pretrain", "chest", "dino"], ["method dino", "random-init, moco"]),
    "an empty method": (["pretrain", "chest", ""], ["there are: random-init"]),
    "the data set for the method": (["pretrain", "moco", "chest"], ["dataset moco"]),
    "no prepared data": (["pretrain", "chest", "moco"], ["data/chest", "Prepare it"]),
    "workers of words": (["pretrain", "chest", "moco"], ["IMSSL_BENCH_WORKERS is 'many'", "whole number"]),
}


@pytest.mark.parametrize("case", STAGES)
def test_a_wrong_stage_is_status_2(project, monkeypatch, capsys, request, case):
    arguments, words = STAGES[case]
    if case == "workers of words":
        request.getfixturevalue("prepared_project")
        monkeypatch.setenv("IMSSL_BENCH_WORKERS", "many")
    before = files_of(project)
    assert run_stage(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert [word for word in words if word not in message] == []
    assert files_of(project) == before
