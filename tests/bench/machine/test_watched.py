"""A process that watches its child says what has ended it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.machine import watched

ROOT = Path(watched.__file__).parents[2]
HEAD = """
import os, signal, sys, time
from bench.machine.watched import run_watched, say_what_ended

def work():
    {work}

status = run_watched(work)
say_what_ended("the stage", status)
sys.exit(status)
"""
# name: (what the child does, exit status, words on standard error)
ENDS = {
    "well": ("return 0", 0, ""),
    "refused": ("return 2", 2, ""),
    "a mistake": ("raise KeyError('x')", 1, "KeyError: 'x'"),
    "interrupted": ("raise KeyboardInterrupt", 130, ""),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", 137, "the stage was killed, perhaps because memory"),
    "a crash": ("os.kill(os.getpid(), signal.SIGSEGV)", 139, "the stage crashed in a library (SIGSEGV)"),
    "aborted": ("os.abort()", 134, "the stage was aborted by a library (SIGABRT)"),
    "a lost file": ("os.kill(os.getpid(), signal.SIGBUS)", 135, "the stage could not read a file or memory"),
}


def start(work: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD.format(work=work)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", ENDS)
def test_the_status_is_the_childs_and_a_signal_is_explained(how):
    work, status, words = ENDS[how]
    process = start(work)
    _, err = process.communicate(timeout=600)
    assert process.returncode == status
    assert words in err
    assert bool(err) == bool(words)


def test_sigterm_reaches_the_child_and_its_answer_the_caller():
    process = start(
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(143)); print('on', flush=True); time.sleep(60)"
    )
    assert process.stdout.readline() == "on\n"
    process.terminate()
    assert process.wait(timeout=600) == 143


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_the_child_ends_with_its_parent(tmp_path):
    process = start("print(os.getpid(), flush=True); time.sleep(60)")
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    deadline = time.monotonic() + 600
    while Path(f"/proc/{child}").exists() and "Z" not in state_of(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_it_works_where_forking_is_not_safe(monkeypatch):
    monkeypatch.setenv("IMSSL_BENCH_PORTABLE", "1")
    assert watched.run_watched(lambda: 7) == 7
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
