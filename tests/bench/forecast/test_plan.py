import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from bench.cells.keys import Keys
from bench.cli import app
from bench.forecast.estimate import Costs, RunEstimate
from bench.forecast.plan import longest_worker, plan
from bench.launch.run_stage import run_stage
from bench.perf.calibration import calibrate
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol, read_protocol
from bench.protocol.stage_specs import CELL_STAGES
from imssl.errors import UserError
from imssl.settings.labels import LabelSet
from tests.bench.stage_calls import stage_calls

COSTS = Costs(
    fixed=1.0,
    pretrain={(d, m): 0.1 for d in ("chest", "fundus") for m in ("random-init", "moco", "moco-barlow")},
    train_step=dict.fromkeys(("chest", "fundus"), 0.2),
    train=dict.fromkeys(("chest", "fundus"), 0.01),
    forward=dict.fromkeys(("chest", "fundus"), 0.001),
    fit_last=dict.fromkeys(("chest", "fundus"), 0.0001),
    fit_all=dict.fromkeys(("chest", "fundus"), 0.0004),
    compare=dict.fromkeys(("chest", "fundus"), 3.0),
)


@pytest.mark.parametrize(
    ("jobs", "workers", "expected"),
    [
        ([], 2, 0),
        ([3, 3], 1, 6),
        ([3, 3], 2, 3),
        ([1, 1, 5], 2, 5),
        ([5, 1, 1, 1], 2, 5),
        ([2, 2, 2, 3], 2, 5),
        ([2], 8, 2),
    ],
)
def test_the_longest_worker_decides(jobs, workers, expected):
    assert longest_worker(jobs, workers) == expected


def test_seconds_of_cells_by_their_costs(prepared_project):
    protocol = read_protocol()
    estimate = RunEstimate(Keys(protocol), costs=COSTS)
    counts = json.loads((prepared_project / "data" / "chest" / "card.json").read_text())["counts"]
    train, val, test = (counts[split]["samples"] for split in ("train", "val", "test"))
    everything = train + val + test
    watched = 0.001 * (train + val)
    assert estimate.seconds(Cell("pretrain", "chest", "random-init", 0)) == pytest.approx(1 + watched)
    steps = 2 * (train // 16) * 16
    assert estimate.seconds(Cell("pretrain", "chest", "moco", 0)) == pytest.approx(
        1 + 0.1 * steps + watched + 0.001 * 3.25 * train  # batch norm is filled at the end
    )
    frozen = Cell("frozen", "chest", "moco", 0, LabelSet(1.0))
    # One pass over the images serves the frozen classifiers and neighbours of two label sets, and the probes.
    encoded = 0.001 * everything / 5
    assert estimate.seconds(frozen) == pytest.approx(1 + encoded + 0.0001 * train)
    # An epoch of all labels is longer than the two steps that it must have at least.
    full = Cell("finetune", "chest", "moco", 0, LabelSet(1.0))
    passed = 2 * val + test + 2 * min(20, test)
    steps = -(-train // 16)
    assert estimate.seconds(full) == pytest.approx(1 + 0.2 * steps + 0.01 * train + 0.001 * passed)
    assert estimate.seconds(Cell("probe", "chest", "moco", 0)) == pytest.approx(1 + encoded + 0.0004 * train)
    assert estimate.seconds(Cell("reuse", "chest", "moco", 0)) == pytest.approx(1 + 2 * 3)
    assert estimate.seconds(Cell("ks", "chest", "moco", 0)) == 1


def test_a_plan_sums_up_what_is_missing(prepared_project):
    protocol = read_protocol()
    estimate = RunEstimate(Keys(protocol), costs=COSTS)
    whole = plan(protocol, estimate, workers=1)
    assert [stage.stage for stage in whole.stages] == list(CELL_STAGES)
    assert [stage.cells for stage in whole.stages] == [6, 12, 12, 12, 6, 6, 6]
    assert whole.unprepared == []
    assert whole.seconds == pytest.approx(whole.overhead + estimate.total)
    assert plan(protocol, estimate, workers=4).seconds < whole.seconds
    ks = [cell for cell in estimate.cells if cell.stage == "ks"]
    for cell in ks:
        estimate.done(cell, 1.0)
    rest = plan(protocol, estimate, workers=1)
    assert [stage.missing for stage in rest.stages] == [6, 12, 12, 12, 6, 6, 0]
    assert rest.overhead < whole.overhead
    for cell in estimate.cells:
        estimate.done(cell, 1.0)
    done = plan(protocol, estimate, workers=1)
    assert (done.seconds, done.overhead, done.bytes) == (0, 0, 0)


@pytest.mark.slow
def test_the_disk_of_a_plan_is_about_what_a_run_takes(prepared_project):
    protocol = read_protocol()
    for arguments in stage_calls("chest", protocol):
        assert run_stage(arguments) == 0
    cells = prepared_project / ".bench" / "cells"
    taken = sum(file.stat().st_size for file in cells.rglob("*") if file.is_file())
    estimate = RunEstimate(Keys(protocol))
    kept = {cell for cell in estimate.cells if estimate.is_done(cell)}
    assert len(kept) == 3 * 10
    for cell in estimate.cells:
        estimate.done(cell, 1.0)
    for cell in kept:
        del estimate._measured[cell]
    # Three copies: in the store, in results/, in DVC's cache.
    assert plan(protocol, estimate, workers=1).bytes / 3 == pytest.approx(taken, rel=0.4)


def test_everything_is_calibrated_with_or_without_data(project, monkeypatch):
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "1")
    protocol: Protocol = read_protocol()
    costs = calibrate(protocol, seconds=0.5)
    pairs = {(d, m) for d in protocol.datasets for m in protocol.methods}
    assert set(costs.pretrain) == pairs
    for (_, method), seconds in costs.pretrain.items():
        assert (seconds == 0) == (method == "random-init")
    for part in (costs.train_step, costs.train, costs.forward, costs.fit_last, costs.fit_all, costs.compare):
        assert set(part) == set(protocol.datasets)
        assert min(part.values()) >= 0
    assert min([*costs.forward.values(), *costs.fit_all.values(), *costs.compare.values()]) > 0
    slower = replace(costs, pretrain=dict.fromkeys(pairs, 10.0))
    keys = Keys(protocol)
    assert RunEstimate(keys, costs=slower).total > RunEstimate(keys, costs=costs).total


def test_a_queue_that_is_too_long_is_named_with_its_data_set(prepared_project, edited, monkeypatch):
    def refuse(protocol, seconds):
        raise UserError("queue = 9999 keys, but there are only 28 training images")

    moco = "  moco:\n    hidden: 16\n    dimension: 8\n    queue: "
    edited(f"{moco}32", f"{moco}9999")
    monkeypatch.setattr("bench.perf.calibration.calibrate", refuse)
    result = CliRunner().invoke(app, ["plan", "--seconds", "1"])
    assert "for this data set alone under datasets.chest.methods.moco.queue" in str(result.exception)


def test_the_verb_predicts_and_says_when_nothing_is_left(prepared_project, monkeypatch):
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "2")
    monkeypatch.setattr("bench.perf.calibration.calibrate", lambda protocol, seconds: COSTS)
    result = CliRunner().invoke(app, ["plan", "--seconds", "1", "--json"])
    assert result.exit_code == 0, result.output
    planned = json.loads(result.stdout)
    assert planned["workers"] == 2
    assert planned["seconds"] > planned["overhead"] > 0
    assert planned["bytes"] > 2**20
    seconds = {stage["stage"]: stage["seconds"] for stage in planned["stages"]}
    assert seconds["reuse"] == pytest.approx(6 * 7)
    assert [stage["missing"] for stage in planned["stages"]] == [6, 12, 12, 12, 6, 6, 6]
    shown = CliRunner().invoke(app, ["plan", "--seconds", "1"]).stdout
    assert "with 2 cells side by side" in shown
    assert [line.split()[0] for line in shown.splitlines()[1:8]] == list(CELL_STAGES)
