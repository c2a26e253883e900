"""k-shot from end to end: drawn, computed, kept, reported and verified beside shares of the labels."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.cells.files import read_table
from bench.cells.records import read_record
from bench.launch.run_cells import run_cells
from bench.protocol.cell import all_cells, cells_of
from bench.protocol.protocol import read_protocol
from bench.report.leaderboard import write_reports
from bench.trust.verify.numbers import compare_tables, recompute
from bench.trust.verify.samples import check_predictions, check_subsets
from imssl.datasets.prepared import read_prepared
from tests.bench.stage_calls import stage_calls

BY_LABELS = ("finetune", "frozen", "knn")


@pytest.fixture
def k_shot(prepared_project, edited):
    """A finished run of one data set with two and five labels per class beside two shares of them."""
    protocol = edited("labels_per_class: []", "labels_per_class: [2, 5]")
    for arguments in stage_calls("chest", protocol):
        stage, dataset, *method = arguments
        run_cells(stage, dataset, method or list(protocol.methods), protocol)
    return protocol


def drawn(stage, folder, split="train"):
    table = read_table(Path("results/chest", stage, "moco/seed-0", folder, "subset.csv"), ("id", "split"))
    return set(table.loc[table["split"] == split, "id"])


@pytest.mark.slow
def test_k_shot_from_params_to_the_page_and_verify(k_shot):
    prepared = read_prepared(Path("data/chest"))
    labels = pd.DataFrame(prepared.labels(), index=prepared.samples["id"])
    for stage in BY_LABELS:
        for k, folder in ((2, "per-class-2"), (5, "per-class-5")):
            of_training = labels.loc[prepared.samples["id"].iloc[prepared.indices("train")]]
            wanted = np.minimum(k, of_training.sum())
            assert (labels.loc[sorted(drawn(stage, folder))].sum() >= wanted).all()
        assert drawn(stage, "per-class-2") < drawn(stage, "per-class-5") < drawn(stage, "fraction-1")
        record = read_record(Path("results/chest", stage, "moco/seed-0/per-class-5"))
        assert (record.fraction, record.labels_per_class, record.status) == (None, 5, "done")

    write_reports(k_shot)
    table = pd.read_csv("reports/results.csv", keep_default_na=False)
    header = ["dataset", "method", "seed", "evaluation", "fraction", "labels_per_class", "block", "class"]
    assert list(table)[:8] == header
    chest = table[(table["dataset"] == "chest") & (table["method"] == "moco")]
    for stage in (*BY_LABELS, "reuse", "ks"):
        sets = chest.loc[chest["evaluation"] == stage, ["fraction", "labels_per_class"]]
        expected = {("", "2"), ("", "5"), ("0.5", ""), ("1.0", "")} - (
            {("1.0", "")} if stage == "ks" else set()
        )
        assert set(sets.itertuples(index=False, name=None)) == expected
    knn = chest[(chest["evaluation"] == "knn") & (chest["labels_per_class"] == "5")]
    (images,) = knn.loc[knn["metric"] == "labelled_images", "value"]
    assert float(images) == len(drawn("knn", "per-class-5"))

    cells = [cell for cell in all_cells(k_shot) if cell.dataset == "chest"]
    recomputed, (unreadable, left_out) = recompute(k_shot, cells)
    tables = compare_tables(k_shot, recomputed, unreadable)
    checks = [*tables, left_out, check_predictions(k_shot, cells), check_subsets(k_shot, cells)]
    assert [check.disagreements for check in checks] == [[]] * 5
    short = json.loads(Path("reports/metrics.json").read_text())
    assert "finetune 5-per-class" in short["chest"]["moco"]

    counted = f"{len(drawn('finetune', 'per-class-2'))} + {len(drawn('finetune', 'per-class-2', 'val'))}"
    board = Path("reports/leaderboard.html").read_text(encoding="utf-8")
    page = Path("reports/datasets/chest.html").read_text(encoding="utf-8")
    for shown in (board, page):
        assert f"<span>2 per class</span><small>{counted} images" in shown
    plots = pd.read_csv("reports/plots/label_efficiency.csv")
    row = plots[(plots["method"] == "moco") & (plots["labels"] == "2 per class")].iloc[0]
    share = len(drawn("finetune", "per-class-2")) / len(prepared.indices("train"))
    assert (row["drawn"], row["fraction"]) == (counted, pytest.approx(share))


def test_shares_keep_their_cells_when_k_shot_is_added(prepared_project, edited):
    run_cells("pretrain", "chest", ["random-init"], read_protocol())
    run_cells("knn", "chest", ["random-init"], read_protocol())
    before = {file: file.read_bytes() for file in Path("results/chest/knn").rglob("*") if file.is_file()}
    protocol = edited("labels_per_class: []", "labels_per_class: [1]")
    run_cells("knn", "chest", ["random-init"], protocol)
    after = {file: file.read_bytes() for file in Path("results/chest/knn").rglob("*") if file.is_file()}
    assert before.items() < after.items()
    assert [cell.folder for cell in cells_of("knn", "chest", "random-init", protocol)] == [
        "seed-0/per-class-1",
        "seed-0/fraction-0.5",
        "seed-0/fraction-1",
    ]
