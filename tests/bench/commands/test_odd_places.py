"""Folders with odd names, other users, an optimising Python, names with control characters: no traceback."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import bench
from bench.cells.files import INPUTS
from bench.cli import main
from bench.launch.run_stage import run_stage
from tests.project_copy import TINY

ROOT = Path(bench.__file__).parents[1]
OTHER_USER = 65534  # the system's `nobody`


def run_bench(monkeypatch, capsys, *arguments: str) -> tuple[object, str, str]:
    """Exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return ended.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize("name", ["[bold]x[b] %s", "$HOME", "-é '#\""])
def test_a_project_may_lie_in_a_folder_of_any_name(tmp_path, monkeypatch, capsys, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "params.yaml").write_text(TINY)
    monkeypatch.chdir(folder)
    for stage in (["inputs"], ["data", "chest"]):
        assert run_stage(stage) == 0
    for arguments, words in (
        (["check"], "chest"),
        (["report"], "leaderboard"),
        (["audit-data", "chest"], "images"),
    ):
        status, out, err = run_bench(monkeypatch, capsys, *arguments)
        assert (status, err) == (0, "")
        assert words in out
    status, _, err = run_bench(monkeypatch, capsys, "audit-data", "fundus")
    assert (status, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("name", ["{y}", "[bold]x[/]", "%s", "a\x1b[31mb", "two\nlines", "\u202egnp"])
def test_a_source_that_is_not_there_is_named_whatever_its_name_is(project, monkeypatch, capsys, name):
    """As a person sees it: braces and brackets stay, what a terminal would obey is escaped and refused."""
    yaml = YAML()
    params = yaml.load(Path("params.yaml").read_text())
    params["datasets"]["chest"] = {
        "source": "folder",
        "path": f"/nowhere/{name}",
        "task": "multiclass",
        "classes": ["a", "b"],
        "size": 16,
        "channels": 1,
        "horizontal_flip": True,
        "vertical_flip": False,
    }
    with Path("params.yaml").open("w") as stream:
        yaml.dump(params, stream)
    assert run_stage(["data", "chest"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    words = "does not exist" if name.isprintable() else "holds a control character or a line break"
    assert words in message
    assert not name.isprintable() or f"/nowhere/{name}" in message
    status, _, err = run_bench(monkeypatch, capsys, "check")
    assert status == 2
    assert words in err
    assert message.rstrip("\n").isprintable()
    assert err.rstrip("\n").isprintable()


def test_braces_that_dvc_cannot_bear_are_one_message(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "{y}"
    folder.mkdir()
    (folder / "params.yaml").write_text(TINY)
    (folder / "dvc.yaml").touch()
    monkeypatch.chdir(folder)
    assert run_stage(["inputs"]) == 2
    assert "because of the braces" in capsys.readouterr().err
    status, out, err = run_bench(monkeypatch, capsys, "repro")
    assert (status, out) == (2, "")
    assert "because of the braces" in err


@pytest.fixture
def of_another_user(monkeypatch) -> Iterator[Path]:
    """A project that root has made under umask 077, in a folder that everybody may enter."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        monkeypatch.chdir(folder)
        mask = os.umask(0o077)
        try:
            (folder / "params.yaml").write_text(TINY)
            assert run_stage(["inputs"]) == 0
        finally:
            os.umask(mask)
        folder.chmod(0o755)
        yield folder
        os.chdir("/")


@pytest.mark.parametrize("opened", [(), ("params.yaml",)])
def test_another_user_than_the_one_who_made_the_project_reads_one_message(
    of_another_user, monkeypatch, capsys, opened
):
    for name in opened:
        (of_another_user / name).chmod(0o644)
    os.seteuid(OTHER_USER)
    try:
        for arguments in (["check"], ["report"], ["verify"], ["methods"], ["doctor"]):
            status, out, err = run_bench(monkeypatch, capsys, *arguments)
            if arguments in (["report"], ["verify"]) or not opened:
                assert status == 2 or arguments == ["doctor"], arguments
                assert err.count("\n") <= 2, err
                assert err.startswith("error: ") or out
        assert run_stage(["data", "chest"]) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert "ermission denied" in message
    finally:
        os.seteuid(0)


@pytest.mark.slow
def test_an_optimising_python_computes_the_same(project):
    """``-OO`` leaves out asserts and docstrings, which no result may depend on."""
    assert run_stage(["inputs"]) == 0
    assert run_stage(["data", "chest"]) == 0
    written = [*INPUTS.iterdir(), *Path("data/chest").iterdir()]
    expected = {file: file.read_bytes() for file in written}
    for stage in (["inputs"], ["data", "chest"]):
        ended = subprocess.run(
            [sys.executable, "-OO", "-m", "bench.stage", *stage],
            env=os.environ | {"PYTHONPATH": str(ROOT), "IMSSL_BENCH_WARM_START": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
    assert {file: file.read_bytes() for file in written} == expected
