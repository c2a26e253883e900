"""Tasks side by side, and how many cells share what there is."""

import os
import sys
from functools import partial

import numpy as np
import pytest

from bench.machine.workers import cells_at_once, in_own_process, side_by_side
from imssl.errors import UserError

CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def squares(size):
    return {"process": os.getpid(), "values": np.arange(size) ** 2}


def refused():
    raise UserError("no such thing")


@pytest.mark.parametrize("count", ["1", "3"])
def test_tasks_return_in_their_order(monkeypatch, count):
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", count)
    results = side_by_side([partial(squares, size) for size in range(8)])
    for size, result in enumerate(results):
        assert result["values"].tolist() == [number * number for number in range(size)]
    forked = {result["process"] for result in results} - {os.getpid()}
    assert len(forked) == 0 if count == "1" else len(forked) > 1


@pytest.mark.parametrize("count", ["1", "2"])
def test_what_a_task_refuses_is_reported(monkeypatch, count):
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", count)
    with pytest.raises(UserError, match="no such thing"):
        side_by_side([partial(squares, 2), refused])


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
@pytest.mark.parametrize(
    ("gpu_image_size", "cells", "expected"),
    [(None, 100, CORES), (32, 100, min(CORES, 4)), (64, 1, 1), (65, 100, 1), (224, 100, 1)],
)
def test_small_images_share_a_gpu_and_large_ones_do_not(monkeypatch, gpu_image_size, cells, expected):
    monkeypatch.delenv("IMSSL_BENCH_WORKERS", raising=False)
    assert cells_at_once(1, cells, gpu_image_size) == expected
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "7")
    assert cells_at_once(1, cells, gpu_image_size) == min(7, cells)


def test_where_nothing_is_forked_cells_still_run_side_by_side(monkeypatch):
    """As on macOS; tasks that no other process can take over stay here."""
    monkeypatch.setenv("IMSSL_BENCH_PORTABLE", "1")
    monkeypatch.delenv("IMSSL_BENCH_WORKERS", raising=False)
    monkeypatch.setattr("bench.machine.workers.cores", lambda: 8)
    assert cells_at_once(2, 100, None) == 4
    assert cells_at_once(1, 100, 64, gpus=1, per_gpu=3) == 3
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "5")
    assert cells_at_once(2, 100, 64, gpus=1) == 5
    assert in_own_process(os.getpid) != os.getpid()
    assert {result["process"] for result in side_by_side([partial(squares, 2)] * 3)} == {os.getpid()}


def test_a_task_in_its_own_process_leaves_nothing_here_but_its_result():
    touched = []

    def task() -> tuple[int, list[str]]:
        touched.append("here")
        return os.getpid(), touched

    pid, there = in_own_process(task)
    assert (pid != os.getpid(), there, touched) == (True, ["here"], [])


def test_what_a_task_in_its_own_process_refuses_is_raised_here():
    def task() -> None:
        raise UserError("not like this")

    with pytest.raises(UserError, match="not like this"):
        in_own_process(task)
