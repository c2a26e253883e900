"""What stands behind a number: the runs, where they come from, and their keys."""

from bench.cells.keys import Keys
from bench.protocol.cell import Cell
from imssl.settings.labels import LabelSet
from tests.bench.report.reading import details_of, value
from tests.bench.small_run import CHEST, FUNDUS, small_protocol


def test_details_of_a_cell_name_its_runs_and_where_they_come_from(page, table):
    details = details_of(page)
    runs = details["cells"]["finetune"][CHEST]["moco"]["0.1"]
    assert [run[0] for run in runs] == [0, 1]
    assert runs[1][1] == "failed: the loss is <b>not</b> finite"
    seed, status, started, seconds, origin, key, score = runs[0]
    assert (seed, status, started, seconds) == (0, "done", "2026-01-02T03:04:05+00:00", 1.5)
    assert details["origins"][origin]["revision"] == "0123456789abcdef"
    assert len(key) == 16
    cell = Cell("finetune", CHEST, "moco", 0, LabelSet(0.1))
    assert score == value(table, cell, "macro_auroc")
    probe = details["cells"]["probe"][CHEST]["moco"][""][1][6]
    cell = Cell("probe", CHEST, "moco", 1)
    assert probe == {str(block): value(table, cell, "macro_auroc", block=block) for block in range(1, 5)}
    assert details["cells"]["probe"][FUNDUS]["moco"][""][0] == [0, "missing: not computed yet"]
    assert ["temperature", "0.2"] in details["methods"]["moco"]
    assert ["Source", "a source"] in details["datasets"][CHEST]


def test_keys_in_the_details_begin_those_of_the_cells(run, page, monkeypatch):
    monkeypatch.chdir(run)
    details = details_of(page)
    cell = Cell("finetune", CHEST, "moco", 0, LabelSet(0.1))
    assert (
        Keys(small_protocol()).key(cell).startswith(details["cells"]["finetune"][CHEST]["moco"]["0.1"][0][5])
    )


def test_the_dialog_shows_seeds_files_and_the_command(visit, run, page):
    opened = visit(reports=run / "reports")
    cell = opened.locator("#finetune table[data-evaluation] tr[data-method=moco] td[tabindex]").first
    cell.click()
    body = opened.locator("#cell-body")
    assert f"bench rerun finetune/{CHEST}/moco/seed-0/fraction-0.1" in body.inner_text()
    assert "moco/seed-1/fraction-0.1" not in body.inner_text()  # it has failed
    (links,) = [[link.get_attribute("href") for link in body.locator("table").first.locator("a").all()]]
    folder = f"../results/{CHEST}/finetune/moco/seed-0/fraction-0.1"
    assert links == [f"{folder}/history.csv", f"{folder}/predictions.csv"]
    assert (run / "reports" / links[1]).is_file()
    score = details_of(page)["cells"]["finetune"][CHEST]["moco"]["0.1"][0][6]
    assert f"{score:.4f}" in body.locator("table").first.inner_text()
