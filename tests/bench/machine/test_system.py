"""The portable way answers what Linux' own does, and the questions of Linux alone stand in one module."""

import ast
import mmap
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.machine import interpreter, system
from bench.machine.memory import measured_peak
from bench.machine.workers import in_own_process
from imssl import operating_system
from imssl.errors import UserError

ROOT = Path(system.__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="compares with what Linux says")


@pytest.fixture
def portable(monkeypatch):
    monkeypatch.setenv("IMSSL_BENCH_PORTABLE", "1")


def both_ways(question, monkeypatch):
    answers = []
    for value in ("0", "1"):
        monkeypatch.setenv("IMSSL_BENCH_PORTABLE", value)
        answers.append(question())
    return answers


@linux
def test_the_cores_are_those_that_this_process_may_use(monkeypatch):
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert both_ways(system.cores, monkeypatch) == [1, 1]
    finally:
        os.sched_setaffinity(0, before)
    assert both_ways(system.cores, monkeypatch) == [len(before)] * 2


@linux
def test_the_command_and_the_parent_of_a_process(monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", "input()", "an argument"], stdin=subprocess.PIPE)
    try:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes().strip(b"\0"):
            time.sleep(0.01)  # it is about to be started
        (linux_command, parent), (command, same_parent) = both_ways(
            lambda: interpreter.command_and_parent(process.pid), monkeypatch
        )
        assert linux_command[:4] == [sys.executable, "-c", "input()", "an argument"]
        assert command[:3] == linux_command[:3]
        assert parent == same_parent == os.getpid()
        assert system.is_running(process.pid)
    finally:
        process.communicate(b"\n")
    assert both_ways(lambda: interpreter.command_and_parent(process.pid), monkeypatch) == [None, None]
    assert not system.is_running(process.pid)
    assert system.resident_mib(process.pid) == 0.0


@linux
@pytest.mark.parametrize("value", ["0", "1"])
def test_memory_is_measured(monkeypatch, value):
    monkeypatch.setenv("IMSSL_BENCH_PORTABLE", value)
    expected = psutil.Process().memory_info().rss / 2**20
    assert system.memory_mib()[1] == pytest.approx(expected, rel=0.05)
    assert system.resident_mib(os.getpid()) == pytest.approx(expected, rel=0.05)
    before = system.memory_mib()[0]
    with measured_peak() as peak:
        np.ones(20 * 2**20 // 8)  # 20 MiB
        time.sleep(0.3)
        # Mapped by itself: what Python's allocator has free already would not be seen to be taken.
        held = mmap.mmap(-1, 100 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, len(held), mmap.PAGESIZE):  # no second block of memory to fill it from
            held[page] = 1
        time.sleep(0.3)
        held.close()
    assert 90 < peak.anonymous - before < 180
    assert system.peak_resident_mib() >= peak.resident - 1


def test_what_a_started_process_refuses_is_raised_here(portable):
    with pytest.raises(UserError, match="not a folder"):
        in_own_process(partial(refuse, "not a folder"))


def refuse(message):
    raise UserError(message)


def test_a_child_ends_with_its_parent_unasked(portable):
    program = (
        "import subprocess, sys, time\n"
        "child = 'import time; from bench.machine.system import end_with_parent; end_with_parent(); '\n"
        "child += 'print(1, flush=True); time.sleep(60)'\n"
        "process = subprocess.Popen([sys.executable, '-c', child], stdout=subprocess.PIPE)\n"
        "process.stdout.readline(); print(process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs([child], timeout=600)[1] == []


def test_a_processor_has_a_name_either_way(monkeypatch):
    for name in both_ways(operating_system.processor_name, monkeypatch):
        assert name.strip() == name != ""


# What not every system knows, and where it may stand beside the two modules that hold the ways of each.
OF_ONE_SYSTEM = {
    "fork", "prctl", "sched_getaffinity", "sched_setaffinity", "sched_getscheduler", "pipe2", "memfd_create",
    "getrusage", "getrlimit", "setrlimit", "fcntl", "resource", "AF_UNIX",
}  # fmt: skip
ELSEWHERE = {
    "bench/cells/method_facts.py": {"fork"},  # a folder below, so it asks for the way itself
    "bench/cells/store/held_cells.py": {"/proc"},  # likewise, with psutil in its place
    "bench/conformance/surroundings/watch.py": {
        "/proc"
    },  # places that a method may read, and names of events
    # Stages start cold where processes may not be forked. flock is macOS's too.
    "bench/launch/warm_server.py": {"AF_UNIX"},
    "bench/launch/warm_start.py": {"AF_UNIX", "fcntl"},
    "bench/machine/interpreter.py": {"/proc"},  # may import no other module, so it asks itself
    "bench/machine/lock.py": {"fcntl"},
    "bench/trust/doctor.py": {"fcntl"},
}


def asked_of_one_system(path):
    names = set()
    text = path.read_text(encoding="utf-8")
    if not any(name in text for name in (*OF_ONE_SYSTEM, "/proc/")):
        return set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= {"/proc"} if node.value.startswith("/proc/") else set()
    return names & (OF_ONE_SYSTEM | {"/proc"})


def test_what_only_linux_knows_is_asked_in_one_module():
    paths = [*(ROOT / "bench").rglob("*.py"), *(ROOT / "imssl").rglob("*.py")]
    modules = {path.relative_to(ROOT).as_posix(): asked_of_one_system(path) for path in paths}
    assert {"fork", "prctl", "sched_getaffinity", "/proc"} <= modules.pop("bench/machine/system.py")
    assert "/proc" in modules.pop("imssl/operating_system.py")
    assert {name: asked for name, asked in modules.items() if asked} == ELSEWHERE
