"""Cells of all stages side by side: in order, bit for bit those of a serial run, whatever fails or dies."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bench
from bench.cells import store
from bench.cells.keys import Keys
from bench.launch.compute import Ended
from bench.launch.engines.engine import Event
from bench.launch.engines.fill import MOST_ATTEMPTS
from bench.launch.engines.local import InThisProcess
from bench.launch.fill_store import chain_places, fill_store, finished_stages, wanted_cells
from bench.protocol.cell import Cell, all_cells, built_on
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError
from tests.bench.launch.filling import CHAIN, contents, filled

ROOT = Path(bench.__file__).parents[1]


class Script:
    """An engine that computes nothing: cells end as a function says, the one submitted last first."""

    def __init__(self, end, room=3):
        self.end, self.most, self.running, self.begun = end, room, [], []

    @property
    def room(self):
        return self.most - len(self.running)

    def submit(self, cell):
        self.running.append(cell)
        self.begun.append(cell)

    def events(self):
        if self.running:
            cell = self.running.pop()
            yield Event(cell, ended=self.end(cell))

    def close(self):
        pass


def test_a_cell_begins_when_all_that_it_builds_on_is_finished(prepared_project):
    engine, protocol = Script(lambda cell: Ended("done")), read_protocol()
    outcome, _ = filled(engine)
    assert len(outcome.done) == len(engine.begun) == len(set(engine.begun)) == len(list(all_cells(protocol)))
    place = {cell: outcome.done.index(cell) for cell in outcome.done}
    for cell in engine.begun:
        assert all(place[earlier] < place[cell] for earlier in built_on(cell, protocol))


def test_a_cell_that_fails_for_good_takes_only_what_builds_on_it(prepared_project):
    bad = Cell("pretrain", "chest", "moco", 0)
    engine = Script(lambda cell: Ended("failed", "no such luck") if cell == bad else Ended("done"))
    outcome, progress = filled(engine)
    assert outcome.failed == {bad: "no such luck"}
    chain = {c for c in all_cells(read_protocol()) if (c.dataset, c.method) == ("chest", "moco")}
    assert set(outcome.skipped) == chain - {bad} == set(progress.lost) - {bad}
    assert set(outcome.done) == set(all_cells(read_protocol())) - chain


def test_a_lost_process_is_tried_again_and_not_for_ever(prepared_project):
    unlucky, hopeless = (Cell("pretrain", "chest", method, 0) for method in ("moco", "random-init"))
    times = {unlucky: 0, hopeless: 0}

    def end(cell):
        times[cell] = times.get(cell, 0) + 1
        if cell == hopeless or (cell == unlucky and times[cell] < MOST_ATTEMPTS):
            return Ended("lost", "its process was killed")
        return Ended("done")

    outcome, _ = filled(Script(end))
    assert outcome.failed == {hopeless: "its process was killed"}
    assert times[unlucky] == times[hopeless] == MOST_ATTEMPTS
    assert unlucky in outcome.done


@pytest.mark.parametrize("how", ["outdated", "stopped"])
def test_nothing_more_begins_after_an_edit_or_a_stop(prepared_project, how):
    engine = Script(lambda cell: Ended(how, "saved"), room=2)
    outcome, _ = filled(engine)
    assert len(engine.begun) == 2
    assert not outcome.failed
    assert (outcome.outdated, outcome.stopped) == (("saved", False) if how == "outdated" else ("", True))


def test_chain_by_chain_a_stop_leaves_one_chain_half_done(prepared_project):
    protocol = read_protocol()
    engine = Script(lambda cell: Ended("done"), room=1)
    outcome, _ = filled(engine, places=chain_places(protocol))
    chains = [(cell.dataset, cell.method, cell.seed) for cell in engine.begun]
    assert len(outcome.done) == len(list(all_cells(protocol)))
    assert [chain for chain, _ in itertools.groupby(chains)] == [
        (dataset, method, 0) for dataset in protocol.datasets for method in protocol.methods
    ]


def test_patterns_name_cells_and_bring_what_these_build_on(prepared_project):
    protocol = read_protocol()
    cells = wanted_cells(protocol, ("reuse/ch*/moco",))
    assert {(c.stage, c.dataset, c.method) for c in cells} == {
        (stage, "chest", "moco") for stage in ("pretrain", "finetune", "reuse")
    }
    assert wanted_cells(protocol, ()) == list(all_cells(protocol))
    assert wanted_cells(protocol, ("*/chest/moco/0",)) == wanted_cells(protocol, ("*/chest/moco",))
    with pytest.raises(UserError, match=r"names no cell.*seeds: 0"):
        wanted_cells(protocol, ("*/chest/moco/1",))
    for wrong, words in (("pretrain/moco", "STAGE/DATASET/METHOD"), ("pretrain/lungs/*", "names no cell")):
        with pytest.raises(UserError, match=words):
            wanted_cells(protocol, (wrong,))


def test_a_mistyped_part_of_a_pattern_is_answered_with_the_nearest_name(prepared_project):
    protocol = read_protocol()
    for wrong, meant in (
        ("pretrain/chets/*", " Did you mean chest?"),
        ("pretrian/chest/mocoo*", " Did you mean pretrain? Did you mean moco?"),
        ("pretrain/chest/moco/7", "seeds: 0."),
    ):
        with pytest.raises(UserError) as refused:
            wanted_cells(protocol, (wrong,))
        assert str(refused.value).endswith(meant)


def test_processes_give_the_bytes_of_a_serial_run(prepared_project, monkeypatch, capfd):
    cells = wanted_cells(read_protocol(), CHAIN)
    outcome, _ = filled(InThisProcess(Keys(read_protocol()), lambda *_: None), cells)
    assert set(outcome.done) == set(cells)
    serial = contents()
    shutil.rmtree(".bench")
    assert fill_store([json.dumps({"only": CHAIN, "workers": 2})]) == 0
    assert contents() == serial
    capfd.readouterr()
    assert fill_store([json.dumps({"only": CHAIN})]) == 0
    assert f"all {len(cells)} cells are in the store" in capfd.readouterr().out
    assert finished_stages(read_protocol(), CHAIN) == ["pretrain@chest-moco", "finetune@chest-moco"]
    assert not list(Path(".bench/claims").iterdir())
    assert not list(Path(".bench/work").iterdir())


def begin(*only, **environment):
    """``fill_store`` in another process, in a group of its own."""
    program = "import sys; from bench.launch.fill_store import fill_store; sys.exit(fill_store(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", program, json.dumps({"only": only or CHAIN, "workers": 2})],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition):
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_and_the_next_run_goes_on(prepared_project, edited):
    edited("  epochs: 2\n  batch_size: 16", "  epochs: 400\n  batch_size: 16")
    key = Keys(read_protocol()).key(Cell("pretrain", "chest", "moco", 0))
    run = begin("pretrain/chest/moco")
    wait_for(lambda: (Path(".bench/claims") / key).exists() and list(Path(".bench/work").glob("pretrain-*")))
    time.sleep(3)
    os.killpg(run.pid, signal.SIGTERM)
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 143, output
    assert "stopped by SIGTERM" in output
    assert store.checkpoint_file(key).is_file()
    assert not list(Path(".bench/claims").iterdir())


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(prepared_project, edited):
    edited("  epochs: 2\n  batch_size: 16", "  epochs: 30\n  batch_size: 16")
    cell = Cell("pretrain", "chest", "moco", 0)
    key = Keys(read_protocol()).key(cell)
    run = begin("pretrain/chest/moco", "pretrain/chest/random-init")
    claim = Path(".bench/claims") / key
    wait_for(claim.exists)
    os.kill(json.loads(claim.read_text())["process"], signal.SIGKILL)
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 0, output
    assert store.finished(cell, key) is not None


WITHOUT_FLOCK = """
import errno, fcntl, os, sys
def refuse(descriptor, operation):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = refuse
from bench.launch.fill_store import fill_store
sys.exit(fill_store(sys.argv[1:]))
"""


@pytest.mark.walk
def test_two_runs_on_one_store_without_flock_seal_every_cell_once(prepared_project):
    """As two nodes do on a shared file system that has no locks."""
    cells = wanted_cells(read_protocol(), CHAIN)
    filled(InThisProcess(Keys(read_protocol()), lambda *_: None), cells)
    serial = contents()
    shutil.rmtree(".bench")
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", WITHOUT_FLOCK, json.dumps({"only": CHAIN, "workers": 2})],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    printed = [run.communicate(timeout=600)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], printed
    assert contents() == serial
    keys = Keys(read_protocol())
    assert all(store.finished(cell, keys.key(cell)) for cell in cells)
    assert not list(Path(".bench/claims").iterdir())
    assert not list(Path(".bench/work").iterdir())
