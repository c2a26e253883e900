"""What bench status says of a run: by the run's own note, by the store, and of cells while they run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cells import store
from bench.cells.keys import Keys
from bench.cells.store.running import RunningNote, running_cells
from bench.cli import app
from bench.forecast.estimate import RunEstimate
from bench.forecast.fill_progress import FillProgress
from bench.forecast.run_note import RUN_NOTE, new_note, read_note, write_note
from bench.forecast.run_status import run_status
from bench.forecast.status_view import in_a_line, sparkline
from bench.launch.fill_store import fill_store
from bench.machine import lock
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import read_protocol
from bench.summary.read import laid_out_or_finished, read_results

CELL = Cell("pretrain", "chest", "moco", 0)


@pytest.fixture
def key(prepared_project):
    return Keys(read_protocol()).key(CELL)


def test_a_sparkline_spans_the_values():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3, 3]) == "▁▁"
    assert sparkline([]) == ""
    long = sparkline([i // 10 for i in range(80)], width=8)
    assert long == "▁▂▃▄▅▆▇█"


def test_a_running_cell_shows_its_curve_until_it_ends(key):
    note = RunningNote(CELL.title, key)
    assert running_cells() == {}  # nobody holds the claim, as after a kill
    with store.claimed_cell(CELL, key):
        note._written = float("-inf")
        note.step(3, 10)
        for loss in (4.0, 3.0, 2.5):
            note._written = float("-inf")
            note.epoch(
                {"epoch": 1, "learning_rate": 0.1, "images_per_second": 5.0, "loss": loss, "knn": None}
            )
        (cell,) = running_cells().values()
        assert (cell.title, cell.share, cell.curves) == (CELL.title, 0.3, {"loss": [4.0, 3.0, 2.5]})
        status = run_status(read_protocol())
        assert [row.curves["loss"] for row in status.running] == [[4.0, 3.0, 2.5]]
        assert status.waiting == status.cells - 1 == len(list(all_cells(read_protocol()))) - 1
        printed = CliRunner().invoke(app, ["status"]).output
        assert f"1 running, {status.waiting} waiting, 0 of {status.cells} done, 0 failed" in printed
        assert "█▃▁ 2.5" in printed
    note.remove()
    assert running_cells() == {}


def test_a_run_says_itself_how_far_it_is(key):
    note = new_note("local", cells=20, reused=4)
    note.done, note.running, note.failed = 3, {"pretrain x": 0.5}, {"finetune y": "no luck"}
    note.waiting, note.cells_a_minute, note.seconds_left = 11, 6.0, 90.0
    write_note(note)
    status = run_status(read_protocol())
    assert (status.engine, status.cells, status.done, status.waiting) == ("local", 20, 7, 11)
    assert in_a_line(status) == (
        "1 running, 11 waiting, 7 of 20 done, 1 failed, 6.0 cells a minute, 1:30 left (bench run on local)"
    )
    # A run whose process has gone says nothing any more.
    content = json.loads(RUN_NOTE.read_text())
    content["holder"]["process"] = 2**22 + 1
    RUN_NOTE.write_text(json.dumps(content))
    assert run_status(read_protocol()).engine == ""


def test_a_cell_that_has_diverged_is_counted_once(prepared_project):
    """It is done, and a hole of the report: it is in the store, and listed with why it failed."""
    protocol = read_protocol()
    cells = [Cell("pretrain", "chest", "moco", seed) for seed in range(4)]
    progress = FillProgress(RunEstimate(Keys(protocol), cells), cells, 0, "local")
    progress.running(cells[1], 1, 2)
    progress.finished(cells[0], 1.0, "the loss is not finite")
    progress._say(at_once=True)
    status = run_status(protocol)
    assert (status.done, len(status.running), status.waiting, len(status.failed)) == (1, 1, 2, 1)


def test_what_a_finished_run_leaves(prepared_project):
    assert fill_store([json.dumps({"only": ["pretrain/chest/random-init"], "workers": 1})]) == 0
    assert read_note().ended
    assert not list(Path(".bench/running").iterdir())
    printed = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert printed["done"] == 1
    assert printed["running"] == []
    assert printed["waiting"] == printed["cells"] - 1
    assert "nothing is at work" in CliRunner().invoke(app, ["status"]).output


def test_a_report_of_what_is_finished_can_be_written_while_a_run_is_at_work(prepared_project):
    assert fill_store([json.dumps({"only": ["pretrain/chest/random-init"], "workers": 1})]) == 0
    assert not Path("results").exists()
    cell = Cell("pretrain", "chest", "random-init", 0)
    assert read_results(read_protocol()).states[cell].status == "missing"
    with lock.shared("bench run"):
        ended = CliRunner().invoke(app, ["report"])
    assert ended.exit_code == 0, ended.output
    states = read_results(read_protocol(), laid_out_or_finished).states
    assert [c for c, state in states.items() if state.status == "done"] == [cell]
    assert "pretrain" in Path("reports/results.csv").read_text()
