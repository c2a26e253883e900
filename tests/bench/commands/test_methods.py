"""The verbs on methods, each run as the console runs it, in a copy of the project."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.machine import lock

SOUND = """
from imssl.heads import linear_head
from imssl.losses import barlow_twins
from imssl.method import Method, MethodSettings
from pydantic import Field


class Mine(Method):
    def __init__(self, encoder, settings, training_set):
        super().__init__(encoder, settings, training_set)
        self.head = linear_head(encoder.width, 16)

    def losses(self, batch):
        first, second = (self.head(self.encoder(view).embedding) for view in batch.views)
        return {"barlow": barlow_twins(first, second, 1.0, 0.005)}
"""
VARIED = (
    SOUND
    + """
    class settings_class(MethodSettings):
        temperature: float = Field(default=0.2, gt=0)
        grids: tuple[int, int] = (1, 2)
"""
)


def test_a_sound_method_passes_every_check_and_is_entered(copy):
    file = copy.write("mine.py", SOUND)
    before, text = copy.state(), (copy.folder / "params.yaml").read_text()
    status, out, err = copy.bench("add-method", file, rules=["import", "views", "losses", "GPU", "speed"])
    assert (status, err) == (0, "")
    assert not re.search("^fail", out, re.MULTILINE)
    assert "mine is in params.yaml; its file is imssl/methods/mine.py" in out
    assert re.search(r"compute 20 of its cells on 2 data sets", out)
    assert "Run it with: dvc repro" in out
    places = "params.yaml, imssl/methods/mine.py, bench/checked/mine.json"
    assert out.count(f"Commit {places} first if the provenance of its cells should name a commit.\n") == 1
    changed = {name for name, sha in copy.state().items() if before.get(name) != sha}
    assert changed == {"params.yaml", "imssl/methods/mine.py", "bench/checked/mine.json"}
    # Every other byte of params.yaml is as it was.
    edited = (copy.folder / "params.yaml").read_text()
    assert edited.replace("  mine: {}\n", "") == text
    record = json.loads((copy.folder / "bench" / "checked" / "mine.json").read_text())
    assert record["sha256"] == hashlib.sha256(Path(file).read_bytes()).hexdigest()
    expected = dict.fromkeys(record["results"], "pass") | {"speed": "info"}
    assert record["results"] | {"GPU": "pass"} == expected
    listed = {row["id"]: row for row in json.loads(copy.bench("methods", "--json")[1])}
    assert (listed["mine"]["origin"], listed["mine"]["checks"]) == ("added", "passed")
    assert (listed["moco"]["origin"], listed["moco"]["cells"]) == ("built-in", 20)


def test_a_method_of_the_suite_is_entered_by_its_name(copy):
    status, out, err = copy.bench("add-method", "masked-reconstruction", rules=["import"])
    assert (status, err) == (0, "")
    assert (
        "masked-reconstruction is in params.yaml; its file is imssl/methods/masked_reconstruction.py" in out
    )
    assert copy.methods["masked-reconstruction"]["learning_rate"] > 0
    for name in ("supervised", "imssl/methods/imagenet.py"):
        status, _, err = copy.bench("add-method", name)
        assert status == 2
        assert "bench add-reference --help" in err
    assert copy.bench("check-method", "simclr", rules=["import"])[0] == 0


def test_variants_of_a_file_are_rows_and_go_one_by_one(copy):
    file = copy.write("mine.py", VARIED)
    assert copy.bench("add-method", file, rules=["import"])[0] == 0
    variant = ("--name", "mine-t01", "--set", "temperature=0.1", "--set", "grids=[3, 4]")
    assert copy.bench("add-method", file, *variant, rules=["import"])[0] == 0
    assert copy.methods["mine"] == {"temperature": 0.2, "grids": [1, 2]}
    assert copy.methods["mine-t01"] == {"file": "mine.py", "temperature": 0.1, "grids": [3, 4]}
    assert "    grids: [3, 4]\n" in (copy.folder / "params.yaml").read_text()
    row = next(row for row in json.loads(copy.bench("methods", "--json")[1]) if row["id"] == "mine-t01")
    assert row["differs"] == {"temperature": 0.1, "grids": [3, 4]}
    assert "mine-t01" in copy.bench("methods")[1]
    status, _, err = copy.bench("remove-method", "mine", "--delete-file")
    assert status == 2
    assert "also the file of mine-t01" in err
    assert copy.bench("remove-method", "mine")[0] == 0
    assert "mine" not in copy.methods
    assert copy.bench("remove-method", "mine-t01", "--delete-file")[0] == 0
    assert not (copy.folder / "imssl" / "methods" / "mine.py").exists()
    assert not (copy.folder / "bench" / "checked" / "mine.json").exists()


def test_methods_do_not_change_while_a_run_is_at_work(copy, monkeypatch):
    """As with encoders and data sets; what a run reads stays as it is until that has ended."""
    file = copy.write("mine.py", VARIED)
    assert copy.bench("add-method", file, rules=["import"])[0] == 0
    before = copy.state()
    monkeypatch.chdir(copy.folder)
    with lock.shared("bench run"):
        for arguments in (
            ("add-method", copy.write("other.py", VARIED)),
            ("update-method", "mine", file),
            ("remove-method", "mine"),
        ):
            status, _, err = copy.bench(*arguments, rules=["import"])
            assert (status, f"bench {arguments[0]} cannot run" in err) == (2, True), err
    assert copy.state() == before
    assert copy.bench("remove-method", "mine", "--delete-file")[0] == 0


REFUSED = {
    "a hyper-parameter that there is not": (
        ["--set", "temperatur=1"],
        ["temperatur is not a known key", "temperature: float"],
    ),
    "a value that is not allowed": (["--set", "temperature=-1"], ["temperature is -1", "greater than 0"]),
    "a value of another type": (["--set", "temperature=warm"], ['temperature is "warm"', "number"]),
    "not an assignment": (["--set", "temperature"], ["give key=value"]),
    "not YAML": (["--set", "temperature=[1"], ["is not a YAML value"]),
    "a date": (["--set", "temperature=2020-01-01"], ['temperature is "2020-01-01"']),
    "set twice": (["--set", "temperature=1", "--set", "temperature=2"], ["set twice"]),
    "a taken name": (["--name", "moco"], ["moco is already a method"]),
    "a built-in name": (["--name", "moco-mse"], ["moco-mse is the name of a built-in method"]),
    "a path as name": (["--name", "../mine"], ["'../mine'", "lower-case"]),
    "HTML as name": (["--name", "<script>"], ["'<script>'", "lower-case"]),
    "markup as name": (["--name", "[red]x"], ["'[red]x'", "lower-case"]),
    "an endless name": (["--name", "a" * 41], ["at most 40"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_wrong_name_or_value_is_refused_and_nothing_changes(copy, kind):
    options, words = REFUSED[kind]
    before = copy.state()
    status, out, err = copy.bench("add-method", copy.write("mine.py", VARIED), *options, rules=["import"])
    assert (status, out) == (2, "")
    assert [word for word in words if word not in err] == [], err
    assert copy.state() == before


def test_a_file_that_is_not_one_is_refused(copy, tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    for name, words in (
        ("pipe.py", "not a regular file"),
        ("folder.py", "is a folder"),
        ("none.py", "no such file"),
    ):
        status, out, err = copy.bench("check-method", str(tmp_path / name))
        assert (status, out) == (2, "")
        assert words in err


def test_another_method_under_a_taken_file_name_is_refused(copy):
    assert copy.bench("add-method", copy.write("mine.py", SOUND), rules=["import"])[0] == 0
    before = copy.state()
    for name, words in (("mine.py", "holds another method"), ("moco.py", "built-in")):
        file = copy.write(name, VARIED)
        status, _, err = copy.bench("add-method", file, "--name", "other", rules=["import"])
        assert status == 2
        assert words in err
    assert copy.state() == before


def test_a_file_in_its_place_is_entered_as_it_is(copy):
    before = copy.state()
    status, out, _ = copy.bench(
        "add-method", "imssl/methods/moco_mse.py", "--set", "queue=32", rules=["import"]
    )
    assert status == 0, out
    assert copy.methods["moco-mse"]["queue"] == 32
    assert {name for name, sha in copy.state().items() if before.get(name) != sha} == {"params.yaml"}


def test_no_check_leaves_the_checks_out_and_the_list_says_so(copy):
    file = copy.write("mine.py", SOUND.replace("0.005", 'float("nan")'))
    status, out, _ = copy.bench("add-method", file, "--no-check")
    assert status == 0
    assert "checks were left out" in out
    rows = {row["id"]: row["checks"] for row in json.loads(copy.bench("methods", "--json")[1])}
    assert rows["mine"] == "skipped"
    copy.bench("update-method", "mine", copy.write("mine.py", SOUND), rules=["import"])
    rows = {row["id"]: row["checks"] for row in json.loads(copy.bench("methods", "--json")[1])}
    assert rows["mine"] == "passed"
    with (copy.folder / "imssl" / "methods" / "mine.py").open("a") as stream:
        stream.write("# edited\n")
    rows = {row["id"]: row["checks"] for row in json.loads(copy.bench("methods", "--json")[1])}
    assert rows["mine"] == "changed"


def test_an_update_replaces_the_file_or_nothing(copy):
    assert copy.bench("add-method", copy.write("mine.py", VARIED), rules=["import"])[0] == 0
    before = copy.state()
    for content, status, words in (
        (VARIED.replace('{"barlow"', 'None and {"barlow"'), 1, "losses() gives NoneType"),
        ("x = 1\n", 2, "found: none"),
        (SOUND, 2, "temperature is not a known key"),  # a row of params.yaml sets it
    ):
        found, out, err = copy.bench("update-method", "mine", copy.write("new.py", content), rules=["losses"])
        assert found == status
        assert words in out + err
        assert copy.state() == before
    longer = VARIED + "# longer\n"
    status, out, _ = copy.bench("update-method", "mine", copy.write("new.py", longer), rules=["import"])
    assert status == 0
    assert "imssl/methods/mine.py is replaced" in out
    assert (copy.folder / "imssl" / "methods" / "mine.py").read_text() == longer
    for arguments, words in (
        (("moco", copy.write("new.py", longer)), "built in"),
        (("nothing", copy.write("new.py", longer)), "not in params.yaml"),
    ):
        status, _, err = copy.bench("update-method", *arguments)
        assert status == 2
        assert words in err


@pytest.mark.parametrize(
    ("name", "words"),
    [("moco", "built in"), ("random-init", "built in"), ("nothing", "is not in params.yaml")],
)
def test_what_is_protected_is_not_removed(copy, name, words):
    before = copy.state()
    status, _, err = copy.bench("remove-method", name)
    assert status == 2
    assert words in err
    assert copy.state() == before


def test_a_row_whose_file_is_gone_can_be_removed(copy):
    assert copy.bench("add-method", copy.write("mine.py", SOUND), rules=["import"])[0] == 0
    (copy.folder / "imssl" / "methods" / "mine.py").unlink()
    assert copy.bench("remove-method", "mine")[0] == 0
    assert "mine" not in copy.methods


def test_the_baseline_is_not_removed(copy):
    assert copy.bench("add-method", copy.write("mine.py", SOUND), rules=["import"])[0] == 0
    params = copy.folder / "params.yaml"
    params.write_text(params.read_text().replace("baseline: moco", "baseline: mine"))
    before = copy.state()
    status, _, err = copy.bench("remove-method", "mine")
    assert status == 2
    assert "report.baseline" in err
    assert copy.state() == before


@pytest.mark.parametrize(
    "step",
    [
        "methods.changes.check_in_child",
        "methods.changes.with_row",
        "methods.changes.protocol_of",
        "methods.changes.change_files",
        "methods.file_changes._written_beside",
    ],
)
def test_ctrl_c_at_any_step_changes_nothing(copy, step):
    before = copy.state()
    file = copy.write("mine.py", SOUND)
    status, _, err = copy.bench("add-method", file, interrupt=f"bench.{step}", rules=["import"])
    assert status == 130
    assert err == "stopped; nothing has changed\n"
    assert copy.state() == before


def test_a_real_ctrl_c_ends_the_checks_too_and_changes_nothing(copy):
    before = copy.state()
    file = copy.write("mine.py", "import time\ntime.sleep(60)\n" + SOUND)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "add-method", file],
        cwd=copy.folder,
        env=copy.environment(copy.folder),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 600
    while not children(process.pid):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (130, "stopped; nothing has changed\n")
    # One that was just being started reads an empty request and ends by itself.
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert copy.state() == before


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def test_a_new_method_passes_and_is_not_overwritten(copy):
    status, out, _ = copy.bench("new-method", "my-idea")
    assert status == 0
    assert "bench check-method my_idea.py" in out
    status, out, err = copy.bench("check-method", "my_idea.py", "--json")
    report = json.loads(out)
    assert (status, err, report["passed"], report["schema_version"]) == (0, "", True, 1)
    assert report["settings"] == {"my-idea": {"projection": 128, "off_diagonal": 0.0051}}
    statuses = {check["name"]: check["status"] for check in report["checks"]}
    assert len(statuses) == 32
    information = {"trained weights", "memory kept", "speed", "memory", "output"}
    assert {name for name, status in statuses.items() if status == "info"} == information
    assert {name for name, status in statuses.items() if status not in ("pass", "info")} <= {"GPU"}
    assert report["speed_ratio"] > 0
    assert report["memory_ratio"] > 0
    before = copy.state()
    status, _, err = copy.bench("new-method", "my-idea")
    assert status == 2
    assert "exists already" in err
    # In params.yaml, in imssl/methods, and names of modules that a file in the project's folder would hide.
    for name in ("moco", "simclr", "queue", "torch", "scipy"):
        status, _, err = copy.bench("new-method", name)
        assert status == 2
        assert "choose another name" in err or "Choose another" in err
    for name in ("../x", "My Idea", "<b>", ""):
        assert copy.bench("new-method", name)[0] == 2
    assert copy.state() == before
