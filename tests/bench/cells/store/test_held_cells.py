"""One process at a time holds a claim, whoever dies and whatever machine it was on."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import bench
from bench.cells.store import held_cells
from bench.cells.store.held_cells import (
    CLAIMS,
    SILENT_SECONDS,
    claimed,
    has_gone,
    is_held,
    read_holder,
    this_process,
    write_holder,
)

ROOT = Path(bench.__file__).parents[1]


class Refused(Exception):
    pass


def refuse(holder):
    raise Refused(str(holder))


def put(holder, name="x"):
    CLAIMS.mkdir(parents=True, exist_ok=True)
    (CLAIMS / name).write_text(json.dumps(asdict(holder)))


def test_a_claim_is_held_by_one_and_given_back(project):
    with claimed("x", "first", refuse):
        with (
            pytest.raises(Refused, match=rf"first \(process {os.getpid()}, since 2"),
            claimed("x", "y", refuse),
        ):
            pass
        assert [file.name for file in CLAIMS.iterdir()] == ["x"]
    assert list(CLAIMS.iterdir()) == []


def test_of_many_processes_one_at_a_time_holds_a_claim(project):
    program = (
        "import os, time\n"
        "from pathlib import Path\n"
        "from bench.cells.store.held_cells import claimed\n"
        "for _ in range(20):\n"
        "    with claimed('x', 'c', lambda holder: None):\n"
        "        descriptor = os.open('inside', os.O_CREAT | os.O_EXCL)\n"
        "        os.close(descriptor); time.sleep(0.002); os.unlink('inside')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(3)]
    assert [process.wait(timeout=600) for process in processes] == [0, 0, 0]
    assert list(CLAIMS.iterdir()) == []


def test_the_claim_of_a_dead_process_is_taken_over(project):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holder = replace(this_process("gone"), process=ended.pid, started=1)
    assert has_gone(holder)
    put(holder)
    with claimed("x", "next", refuse):
        pass


@pytest.fixture(params=["0", "1"], ids=["as on this system", "portable"])
def either_way(request, monkeypatch):
    monkeypatch.setenv("IMSSL_BENCH_PORTABLE", request.param)
    held_cells.this_host.cache_clear()
    yield
    held_cells.this_host.cache_clear()


@pytest.mark.skipif(
    not hasattr(os, "waitid"), reason="nobody can leave a process that has ended in the table"
)
def test_a_process_that_has_ended_and_that_nobody_has_asked_for_is_gone(project, either_way):
    program = "from bench.cells.store.held_cells import claimed; import os; c = claimed('x', 'c', None); "
    child = subprocess.Popen(
        [sys.executable, "-c", program + "c.__enter__(); os.kill(os.getpid(), 9)"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays in the table
    assert (CLAIMS / "x").exists()
    with claimed("x", "next", refuse):
        pass
    child.wait()


def test_a_process_with_the_number_of_a_dead_one_holds_nothing(project, either_way):
    holder = this_process("this")
    assert holder.started
    assert not has_gone(holder)
    assert has_gone(replace(holder, started=holder.started - 3))


def test_another_machine_keeps_its_claim_until_it_has_been_silent_for_long(project):
    holder = replace(this_process("there"), host="node7/pid:[1]", process=1)
    put(holder)
    with pytest.raises(Refused, match="there \\(process 1 on node7"), claimed("x", "here", refuse):
        pass
    past = (CLAIMS / "x").stat().st_mtime - SILENT_SECONDS - 5
    os.utime(CLAIMS / "x", (past, past))
    with claimed("x", "here", refuse):
        pass


def test_a_living_process_of_this_machine_keeps_its_claim_however_silent_it_is(project):
    """A cell of nearest neighbours tells of no progress, however long it takes."""
    with claimed("x", "a long one", refuse):
        past = time.time() - SILENT_SECONDS - 1000
        os.utime(CLAIMS / "x", (past, past))
        assert is_held(CLAIMS / "x")
        with pytest.raises(Refused, match="a long one"), claimed("x", "another", refuse):
            pass
    assert not is_held(CLAIMS / "x")


def test_a_holder_is_written_whole_beside_and_then_named(project, monkeypatch):
    """Whoever looks in the meantime sees no file that cannot be read, which would be taken for left."""
    seen = []
    replace_file = Path.replace

    def look(partial, file):
        seen.append((file.exists(), read_holder(partial)))
        return replace_file(partial, file)

    monkeypatch.setattr(Path, "replace", look)
    write_holder(Path("held.json"), "a stage")
    assert seen == [(False, read_holder(Path("held.json")))]
    assert seen[0][1].command == "a stage"
    assert [file.name for file in Path().glob("held*")] == ["held.json"]


def test_an_unreadable_claim_is_nobodys(project):
    CLAIMS.mkdir(parents=True)
    (CLAIMS / "x").write_bytes(b"")
    with claimed("x", "here", refuse):
        pass


def test_a_kept_claim_is_touched(project, monkeypatch):
    monkeypatch.setattr(held_cells, "TOUCH_SECONDS", 0.02)
    with claimed("x", "long", refuse) as claim, held_cells.kept(claim):
        os.utime(CLAIMS / "x", (1, 1))
        deadline = time.monotonic() + 600
        while (CLAIMS / "x").stat().st_mtime < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
