"""`bench doctor`: what it calls slow or broken, and that it leaves nothing behind."""

import errno
import json
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bench.cli import main
from bench.trust import doctor
from imssl.device_kind import GPU_VARIABLES
from tests.project_copy import ROOT


def test_it_runs_outside_a_project_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "doctor", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    findings = json.loads(capsys.readouterr().out)
    states = {finding["about"]: finding["state"] for finding in findings}
    assert {"Python", "packages", "torch", "cores", "memory", "disk", "DVC", "locks and renames"} <= set(
        states
    )
    assert ended.value.code == (1 if "broken" in states.values() else 0)
    assert states["locks and renames"] == "good"
    for finding in findings:
        assert bool(finding["way_out"]) == (finding["state"] != "good"), finding
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "state"), [(50, "good"), (5, "slow"), (0.5, "broken")])
def test_a_full_disk_is_slow_and_then_broken(tmp_path, monkeypatch, free, state):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(free * doctor.GIB))
    assert doctor._disk(tmp_path).state == state


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second disk")
def test_the_disk_of_a_store_elsewhere_is_looked_at_too(tmp_path, monkeypatch):
    assert doctor.store_on_another_disk(tmp_path) is None
    monkeypatch.setattr(doctor, "SHARED_STORE", tmp_path / "store")
    assert doctor.store_on_another_disk(tmp_path) is None
    monkeypatch.setattr(doctor, "SHARED_STORE", Path("/dev/shm/not/made/yet"))
    assert doctor.store_on_another_disk(tmp_path) == Path("/dev/shm")
    for name in ("_python", "_packages", "_torch", "_browser"):
        monkeypatch.setattr(doctor, name, lambda: doctor.Condition("", "good", ""))
    abouts = [condition.about for condition in doctor.examine(tmp_path)]
    assert abouts[-2:] == ["disk of the store", "file system of the store"]


def test_what_the_doctor_says_to_do_about_a_browser_can_be_done():
    assert "make" not in doctor.INSTALL_BROWSER.partition(": ")[2]


def test_a_bug_report_asks_for_the_doctor():
    form = ROOT / ".github/ISSUE_TEMPLATE/bug.yml"
    asked = [part["attributes"] for part in YAML(typ="safe").load(form)["body"]]
    assert any("bench doctor --json" in part["label"] and part.get("render") == "json" for part in asked)


def test_a_lock_that_keeps_nobody_out_is_broken(tmp_path, monkeypatch):
    """As on a network file system whose locks are local to each node."""
    monkeypatch.setattr(doctor.fcntl, "flock", lambda *_: None)
    assert doctor._locks_and_renames(tmp_path).state == "broken"


def test_a_file_system_without_flock_is_slow_as_the_lock_has_a_stand_in(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(doctor.fcntl, "flock", flock)
    condition = doctor._locks_and_renames(tmp_path)
    assert (condition.state, "flock" in condition.found) == ("slow", True)
    assert condition.way_out
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_fails_in_another_way_is_broken(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(doctor.fcntl, "flock", flock)
    condition = doctor._locks_and_renames(tmp_path)
    assert (condition.state, condition.found) == ("broken", f"Input/output error in {tmp_path}")


def test_a_gpu_that_torch_cannot_use_is_broken(tmp_path, monkeypatch):
    for name in GPU_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("imssl.device_kind.DEVICE_FILES", (tmp_path,))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    condition = doctor._torch()
    assert condition.state == "broken"
    assert f"{tmp_path} is there" in condition.found


def test_a_package_outside_its_bounds_is_broken(monkeypatch):
    monkeypatch.setattr(
        "importlib.metadata.requires", lambda name: ["numpy>=99", "nowhere-to-be-found", "rich>=1"]
    )
    found = doctor._packages()
    assert found.state == "broken"
    assert "numpy" in found.found
    assert "nowhere-to-be-found is missing" in found.found
    assert "rich" not in found.found
