"""The makespan of all cells on many machines, beside runs whose length is known by hand."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from bench.cells.keys import Keys
from bench.cli import app
from bench.forecast import makespan as module
from bench.forecast.estimate import RunEstimate
from bench.forecast.makespan import Machines, longest_ways, makespan, parse_machines
from bench.protocol.cell import all_cells, built_on
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError

PRETRAINING, OTHERS = 100.0, 10.0


@pytest.fixture
def estimate(prepared_project, monkeypatch):
    """100 s for a pretraining and 10 s for any other cell, and nothing beside it."""
    for name in ("CELL_SECONDS", "DRIVER_SECONDS"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(module, "SERVER_BYTES_A_SECOND", float("inf"))
    protocol = read_protocol()

    def seconds(cell):
        return PRETRAINING if cell.stage == "pretrain" else OTHERS

    return SimpleNamespace(protocol=protocol, cells=list(all_cells(protocol)), seconds=seconds)


def test_one_machine_takes_the_sum_of_all_cells(estimate):
    run = makespan(estimate, Machines(1, 1, has_gpus=False))
    total = sum(map(estimate.seconds, estimate.cells))
    assert run.seconds == run.lower_bound == pytest.approx(total)
    assert run.efficiency == pytest.approx(1.0)
    assert sum(run.stage_seconds.values()) == pytest.approx(total)


def test_endless_machines_take_the_longest_chain(estimate):
    run = makespan(estimate, Machines(1000, 1, has_gpus=False))
    # pretrain, finetune, and reuse or ks.
    assert run.seconds == run.lower_bound == PRETRAINING + 2 * OTHERS
    assert run.bottleneck.startswith("the longest chain, which begins with pretrain")


def test_no_order_beats_the_lower_bound_and_slots_are_not_shared(estimate):
    total = sum(map(estimate.seconds, estimate.cells))
    for count in (1, 2, 3, 5, 8):
        run = makespan(estimate, Machines(count, 1, has_gpus=False))
        assert max(total / count, PRETRAINING + 2 * OTHERS) == pytest.approx(run.lower_bound)
        assert run.seconds >= run.lower_bound - 1e-9
        # List scheduling of Graham: never more than twice as long as the best order.
        assert run.seconds <= total / count + run.lower_bound


def test_cells_that_need_no_gpu_do_not_take_one(estimate):
    run = makespan(estimate, Machines(1, 1, has_gpus=True))
    on_processors = sum(estimate.seconds(cell) for cell in estimate.cells if cell.stage in ("reuse", "ks"))
    total = sum(map(estimate.seconds, estimate.cells))
    assert run.lower_bound == pytest.approx(total - on_processors)
    assert run.seconds <= total
    assert "1 GPUs" in run.bottleneck
    assert "pretrain" in run.bottleneck


def test_ways_are_those_of_every_chain_in_whatever_order_cells_are_given(estimate):
    protocol = estimate.protocol
    cells = random.Random(0).sample(estimate.cells, len(estimate.cells))
    seconds = {cell: 1.0 + number for number, cell in enumerate(cells)}
    needs = {cell: set(built_on(cell, protocol)) for cell in cells}

    def way(cell):
        return seconds[cell] + max((way(later) for later in cells if cell in needs[later]), default=0.0)

    assert longest_ways(needs, seconds) == {cell: way(cell) for cell in cells}


def test_every_machine_reads_a_data_set_once(estimate, monkeypatch):
    monkeypatch.setattr(module, "SERVER_BYTES_A_SECOND", 1000.0)
    run = makespan(estimate, Machines(1, 1, has_gpus=False))
    files = [f"data/{name}/images.npy" for name in estimate.protocol.datasets]
    size = sum(Path(file).stat().st_size for file in files)
    assert run.data_bytes == size
    assert run.data_seconds == pytest.approx(size / 1000.0)
    assert run.seconds == pytest.approx(run.lower_bound + run.data_seconds)


def test_what_machines_are(prepared_project):
    assert parse_machines("64x1gpu") == Machines(64, 1, True)
    assert parse_machines("16x8") == parse_machines("16x8cpu") == Machines(16, 8, False)
    for wrong in ("64", "0x1gpu", "64x1tpu", "x", "-1x2"):
        with pytest.raises(UserError, match="64x1gpu"):
            parse_machines(wrong)


def test_the_verb_prints_it(prepared_project, monkeypatch):
    monkeypatch.setattr("bench.perf.calibration.calibrate", lambda protocol, seconds: None)
    ended = CliRunner().invoke(app, ["plan", "--machines", "4x1gpu", "--json"])
    assert ended.exit_code == 0, ended.output
    printed = json.loads(ended.stdout)
    keys = Keys(read_protocol())
    assert printed["cells"] == len(RunEstimate(keys).cells)
    assert 0 < printed["lower_bound"] <= printed["seconds"]
    words = CliRunner().invoke(app, ["plan", "--machines", "4x1gpu"]).output
    assert "bottleneck: " in words
    assert f"all {printed['cells']} cells" in words
