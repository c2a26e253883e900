"""Runs that are damaged, mixed or uneven: the report comes all the same, and says so."""

import json
import shutil

import pandas as pd

from bench.cells.files import CELL_FILE, METRICS_FILE, data_folder, stage_folder, write_json
from bench.cells.keys import Keys
from bench.cells.records import read_record, write_record
from bench.cells.store import file_checksums
from bench.protocol.cell import Cell
from bench.report.leaderboard import write_reports
from imssl.durable import write_text
from tests.bench.report.reading import Page
from tests.bench.small_run import CHEST, FUNDUS, small_protocol, write_cell


def test_files_that_cannot_be_read_are_holes_and_never_a_crash(copy):
    probe = stage_folder("probe", CHEST, "moco")
    write_text(probe / "seed-0" / CELL_FILE, "{}")
    shutil.rmtree(probe / "seed-1")
    probe.joinpath("seed-1").write_text("not a folder")
    record = read_record(stage_folder("ks", CHEST, "moco") / "seed-0")
    write_text(stage_folder("ks", CHEST, "moco") / "seed-0" / METRICS_FILE, "[1]")
    files = file_checksums(stage_folder("ks", CHEST, "moco") / "seed-0")
    write_record(stage_folder("ks", CHEST, "moco") / "seed-0", record.model_copy(update={"files": files}))
    write_text(data_folder(FUNDUS) / "card.json", "[]")
    write_reports(small_protocol())
    table = pd.read_csv("reports/results.csv")
    holes = table[table["status"] != "done"]
    chest = holes[holes["dataset"] == CHEST]
    assert dict(zip(zip(chest["evaluation"], chest["seed"], strict=True), chest["status"], strict=True)) == {
        ("finetune", 1): "failed", ("ks", 0): "damaged", ("ks", 1): "stale",
        ("probe", 0): "damaged", ("probe", 1): "missing",
    }  # fmt: skip
    assert set(table[table["dataset"] == FUNDUS]["status"]) == {"missing"}


def test_mixed_versions_and_a_single_seed_are_warned_of(copy):
    protocol = small_protocol(seeds=[0])
    cell = Cell("pretrain", CHEST, "moco", 0)
    write_cell(cell, Keys(protocol).key(cell), torch="2.14.0")
    text = " ".join(Page(write_reports(protocol).read_text(encoding="utf-8")).text)
    assert "One seed cannot show how much seeds differ" in text
    assert "Cells were computed with different versions of torch (2.14.0 and 2.15.0)." in text
    assert "One seed; below it the 95% interval over test patients only" in text


def test_unequal_numbers_of_images_are_warned_of(copy):
    protocol = small_protocol()
    cell = Cell("pretrain", CHEST, "moco", 0)
    folder = stage_folder("pretrain", CHEST, "moco") / cell.folder
    metrics = json.loads((folder / METRICS_FILE).read_text())
    seen = {"metric": "images_seen", "value": 480}
    write_json(folder / METRICS_FILE, [seen if row["metric"] == "images_seen" else row for row in metrics])
    write_record(folder, read_record(folder).model_copy(update={"files": file_checksums(folder)}))
    text = " ".join(Page(write_reports(protocol).read_text(encoding="utf-8")).text)
    # The mean of 480 and 160 over the two seeds.
    assert f"{CHEST}: methods have seen unequal numbers of images: random-init 160 and moco 320." in text
    assert f"{FUNDUS}: methods have seen unequal" not in text
