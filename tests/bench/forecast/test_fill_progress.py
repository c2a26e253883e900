"""What bench run says of cells that run, wait, are done and have failed."""

from types import SimpleNamespace

import pytest

from bench.forecast import fill_progress
from bench.forecast.fill_progress import FillProgress
from bench.protocol.cell import Cell

CELLS = [Cell("pretrain", "chest", "moco", seed) for seed in range(4)]


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(fill_progress.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def progress(clock, tmp_path, monkeypatch):
    estimate = SimpleNamespace(seconds=lambda cell: 60.0, done=lambda cell, seconds: None)
    monkeypatch.chdir(tmp_path)
    progress = FillProgress(estimate, CELLS, reused=5, engine="local")
    progress.at_once = 2
    return progress


def test_every_cell_is_counted_once_and_the_time_left_is_shared_by_the_workers(progress, clock, capsys):
    assert progress.summary() == "0 running, 4 waiting, 0 done (5 were there), 0 failed, 2:00 left"
    progress.running(CELLS[0], 0, 1)
    progress.running(CELLS[1], 0, 1)
    clock.seconds += 30
    progress.running(CELLS[0], 30, 100)  # so it takes 100 s, of which 70 are left
    assert progress.summary().startswith("2 running, 2 waiting, 0 done")
    assert progress.summary().endswith("2:05 left")  # (70 + 60 + 60 + 60) / 2
    progress.finished(CELLS[0], 30.0)
    progress.given_up(CELLS[1], "no such luck")
    assert progress.summary() == (
        "0 running, 2 waiting, 1 done (5 were there), 1 failed, 2 cells a minute, 1:00 left"
    )
    assert progress.result() == "1 cells computed in 0:30, 5 were in the store, 1 failed"
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("pretrain chest moco seed 0: 30.0 s  [1 running, 2 waiting, 1 done")
    assert printed[1].startswith("pretrain chest moco seed 1: FAILED: no such luck")
