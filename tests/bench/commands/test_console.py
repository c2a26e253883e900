"""Where `bench` works, how it lists and finds its verbs, and what it leaves behind."""

import re
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.commands.terminal.console import complete_dataset, complete_method, complete_profile, complete_trap
from bench.sharing.merge import Merged


def bench(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    status = 0
    try:
        main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_it_works_from_a_folder_below_the_project(prepared_project, monkeypatch, capsys):
    below = prepared_project / "data" / "chest"
    monkeypatch.chdir(below)
    before = {path for path in prepared_project.rglob("*") if ".bench" not in path.parts}
    assert bench(monkeypatch, capsys, "audit-data", "--json")[0] in (0, 1)
    assert {path for path in prepared_project.rglob("*") if ".bench" not in path.parts} == before
    assert Path.cwd() == below


def test_a_file_is_meant_from_where_the_user_is(project, monkeypatch, capsys):
    (project / "mine").mkdir()
    (project / "mine" / "half.py").write_text("class (")
    monkeypatch.chdir(project / "mine")
    status, _, err = bench(monkeypatch, capsys, "add-method", "half.py")
    assert status == 2
    assert "no such file" not in err.lower()
    assert "half.py" in err


@pytest.mark.parametrize("named", ["../../other", "$OTHER", "~/other"])
def test_another_checkout_is_meant_from_where_the_user_is(project, tmp_path, monkeypatch, capsys, named):
    below, other = project / "mine" / "deep", project / "other"
    (other / "results").mkdir(parents=True)
    below.mkdir(parents=True)
    monkeypatch.setenv("OTHER", str(other))
    monkeypatch.setenv("HOME", str(project))
    merged = []
    monkeypatch.setattr(
        "bench.sharing.merge.merge", lambda folder, protocol: merged.append(folder) or Merged()
    )
    monkeypatch.chdir(below)
    assert bench(monkeypatch, capsys, "merge", named)[0] == 0
    assert merged == [other]


def test_what_is_no_folder_is_still_a_revision(project, monkeypatch, capsys):
    (project / "mine").mkdir()
    monkeypatch.chdir(project / "mine")
    status, _, err = bench(monkeypatch, capsys, "merge", "~nobody-here/anna")
    assert (status, "~nobody-here/anna is no folder, no commit" in " ".join(err.split())) == (2, True)


@pytest.mark.parametrize(
    "verb", [["check"], ["verify"], ["report"], ["clean"], ["plan"], ["repro"], ["trap", "x"]]
)
def test_outside_a_project_it_says_so_and_leaves_nothing(tmp_path, monkeypatch, capsys, verb):
    monkeypatch.chdir(tmp_path)
    status, out, err = bench(monkeypatch, capsys, *verb)
    assert (status, out) == (2, "")
    assert "no project's folder" in err
    assert list(tmp_path.iterdir()) == []


def test_a_refused_verify_leaves_nothing(project, monkeypatch, capsys):
    status, _, err = bench(monkeypatch, capsys, "verify")
    assert (status, "no results to verify" in err) == (2, True)
    assert [path.name for path in project.iterdir()] == ["params.yaml"]


def test_version_and_short_help(monkeypatch, capsys):
    status, out, _ = bench(monkeypatch, capsys, "--version")
    assert status == 0
    assert re.fullmatch(r"imssl-bench \d+\.\d+\.\d+.*\n", out)
    assert bench(monkeypatch, capsys, "-h")[1] == bench(monkeypatch, capsys, "--help")[1]
    assert "--rerun" in bench(monkeypatch, capsys, "verify", "-h")[1]


def test_verbs_stand_in_order_below_headings(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    _, out, _ = bench(monkeypatch, capsys, "-h")
    listed = re.findall(r"^\W ([a-z-]+)  ", out, re.MULTILINE)
    assert listed.index("add-method") < listed.index("audit-data") < listed.index("remove-method")
    assert listed.index("plan") < listed.index("repro") < listed.index("verify")
    for heading in ("Set up", "Data sets and methods", "Run and results", "Trust"):
        assert heading in out


def test_quiet_leaves_only_errors(project, monkeypatch, capsys):
    assert bench(monkeypatch, capsys, "--quiet", "profile", "list") == (0, "", "")
    status, out, err = bench(monkeypatch, capsys, "-q", "trap", "mousetrap")
    assert (status, out) == (2, "")
    assert "no trap mousetrap" in err


def test_names_are_completed(project, monkeypatch):
    assert complete_method("moco") == ["moco", "moco-barlow"]
    assert complete_dataset("f") == ["fundus"]
    assert complete_profile("me") == ["medmnist"]
    assert complete_trap("drop") == ["drop-last"]
    monkeypatch.chdir("/")
    assert complete_method("") == []


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["trap", "drop-lost"], "drop-last"),
        (["audit-data", "chst"], "chest"),
        (["profile", "use", "dem"], "demo"),
        (["remove-method", "moco-barlw"], "moco-barlow"),
        (["report", "--compare", "moko", "moco"], "moco"),
        (["verfy"], "verify"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(project, monkeypatch, capsys, arguments, meant):
    status, _, err = bench(monkeypatch, capsys, *arguments)
    assert status == 2
    assert re.search(rf"[Dd]id you mean '?{meant}", err), err


def test_a_mistyped_key_is_answered_with_the_nearest(project, monkeypatch, capsys):
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("weight_decay:", "weight_decy:", 1))
    status, _, err = bench(monkeypatch, capsys, "check")
    assert status == 2
    assert "did you mean weight_decay?" in err


def test_without_results_or_data_it_says_what_to_run(project, monkeypatch, capsys):
    status, _, err = bench(monkeypatch, capsys, "report", "--compare", "moco-barlow", "moco")
    assert (status, "Run: dvc repro" in err) == (2, True)
    status, _, err = bench(monkeypatch, capsys, "audit-data")
    assert (status, "Run: dvc repro data@chest data@fundus" in err) == (2, True)
