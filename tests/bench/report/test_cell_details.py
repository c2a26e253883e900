"""What stands behind a number: the runs, where they come from, and their keys."""

from bench.cells.keys import Keys
from bench.protocol.cell import Cell
from tests.bench.report.reading import details_of
from tests.bench.small_run import CHEST, FUNDUS, small_protocol


def test_details_of_a_cell_name_its_runs_and_where_they_come_from(page):
    details = details_of(page)
    runs = details["cells"]["finetune"][CHEST]["moco"]["0.1"]
    assert [run[0] for run in runs] == [0, 1]
    assert runs[1][1] == "failed: the loss is <b>not</b> finite"
    seed, status, started, seconds, origin, key = runs[0]
    assert (seed, status, started, seconds) == (0, "done", "2026-01-02T03:04:05+00:00", 1.5)
    assert details["origins"][origin]["revision"] == "0123456789abcdef"
    assert len(key) == 16
    assert details["cells"]["probe"][FUNDUS]["moco"][""][0] == [0, "missing: not computed yet"]
    assert ["temperature", "0.1"] in details["methods"]["moco"]
    assert ["Source", "a source"] in details["datasets"][CHEST]


def test_keys_in_the_details_begin_those_of_the_cells(run, page, monkeypatch):
    monkeypatch.chdir(run)
    details = details_of(page)
    cell = Cell("finetune", CHEST, "moco", 0, 0.1)
    assert (
        Keys(small_protocol()).key(cell).startswith(details["cells"]["finetune"][CHEST]["moco"]["0.1"][0][5])
    )
