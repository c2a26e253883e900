"""A small run with one hole of each kind, written as the stages write it, for the tests of the report."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

import bench
from bench.cells.files import (
    HISTORY_FILE,
    METRICS_FILE,
    cell_path,
    data_folder,
    write_json,
    write_table,
)
from bench.cells.keys import Keys
from bench.cells.predictions import predictions_table
from bench.cells.records import CellRecord, Provenance, write_record
from bench.cells.scores import number_rows, score_rows
from bench.cells.store import file_checksums
from bench.protocol.cell import Cell, all_cells
from bench.protocol.label_columns import label_columns
from bench.protocol.protocol import read_protocol
from bench.protocol.stage_specs import STAGES
from imssl.datasets.prepared import Card, SplitCounts
from imssl.durable import write_text
from imssl.settings.labels import LabelSet

HTML_CLASS = "<script>alert(1)</script>"
CHEST, FUNDUS = "phantom-chest", "phantom-fundus"
SPLITS = {"train": 80, "val": 20, "test": 40}

FAILED = Cell("finetune", CHEST, "moco", 1, LabelSet(0.1))
MISSING = Cell("probe", FUNDUS, "moco", 0)
STALE = Cell("ks", CHEST, "random-init", 1)
DAMAGED = Cell("reuse", FUNDUS, "random-init", 0)


def small_protocol(**changes):
    protocol = read_protocol(Path(bench.__file__).parent / "protocol" / "profiles" / "demo.yaml")
    changes = {
        "datasets": {name: protocol.datasets[name] for name in (CHEST, FUNDUS)},
        "methods": {name: protocol.methods[name] for name in ("random-init", "moco")},
        "label_fractions": [0.1, 1.0],
        "labels_per_class": [],
        "report": protocol.report.model_copy(update={"resamples": 100}),
        **changes,
    }
    return protocol.model_copy(update=changes)


def card(dataset):
    chest = dataset == CHEST
    classes = [HTML_CLASS, "nodule", "never seen"] if chest else ["none", "mild", "severe"]
    counts = {
        s: SplitCounts(samples=n, patients=n // 4, per_class=dict.fromkeys(classes, 5))
        for s, n in SPLITS.items()
    }
    return Card(
        name=dataset, synthetic=True, task="multilabel" if chest else "ordinal", classes=classes,
        primary_metric="macro_auroc" if chest else "qwk", source="a source", description="Some images.",
        url="https://example.org/data", licence="CC0 & others", citation="Nobody (2020)",
        image_shape=(8, 8, 1), has_patients=True, patients_note="", split_origin="drawn",
        counts=counts, skipped=[], channel_mean=[0.5], channel_std=[0.25], inputs={},
        checksums={"images.npy": dataset, "samples.csv": "1"},
    )  # fmt: skip


def samples_of(dataset):
    generator = np.random.default_rng(len(dataset))
    labels = (generator.random((40, 3)) < [0.5, 0.3, 0.0]).astype(int)
    if dataset != CHEST:
        labels = generator.integers(3, size=(40, 1))
    table = pd.DataFrame({"id": [f"i{i}" for i in range(40)], "patient": [f"p{i // 4}" for i in range(40)]})
    table[card(dataset).label_columns] = labels
    return table


def labels_of(dataset):
    labels = samples_of(dataset)[card(dataset).label_columns].to_numpy()
    return labels if dataset == CHEST else labels[:, 0]


def probabilities_of(cell, block=0):
    words = f"{cell} {block}".encode()
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(words).digest()[:4]))
    return np.round(generator.dirichlet(np.ones(3), size=40), 6)


def write_cell(cell, key, status="done", reason=None, torch="2.15.0"):
    folder = cell_path(cell)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if status == "done":
        write_cell_files(cell, folder)
    origin = Provenance(
        started="2026-01-02T03:04:05+00:00", seconds=1.5, commit="0123456789abcdef", clean=True,
        device="a CPU, 2 threads", python="3.12.1", packages={"torch": torch}, command="dvc repro",
        cpu_seconds=4.0 + cell.seed if cell.stage == "pretrain" else None,
        costs={"peak_memory_mib": 100.0, "seconds": 2.5 + cell.seed} if cell.stage == "pretrain" else {},
    )  # fmt: skip
    record = CellRecord(
        key=key, stage=cell.stage, dataset=cell.dataset, method=cell.method, seed=cell.seed,
        **label_columns(cell.labels), status=status, reason=reason, files=file_checksums(folder),
        provenance=origin,
    )  # fmt: skip
    write_record(folder, record)


def write_cell_files(cell, folder):
    samples, labels, owner = samples_of(cell.dataset), labels_of(cell.dataset), card(cell.dataset)
    if cell.stage == "pretrain":
        epochs = [0] if cell.method == "random-init" else [1, 2]
        history = [{"epoch": e, "loss": 3.0 - e - cell.seed, "knn_macro_auroc": 0.5 + e / 10} for e in epochs]
        write_table(folder / HISTORY_FILE, pd.DataFrame(history))
        rows = number_rows({"images_seen": 160, "trained_parameters": 1234})
    elif cell.stage == "reuse":
        similarity = {
            (f, b, k): 1 - b / 10 - f / 20 + cell.seed / 100
            for f in (0.1, 1.0) for b in range(1, 5) for k in ("linear", "rbf")
        }  # fmt: skip
        rows = [
            {"fraction": f, "block": b, "metric": f"cka_{k}{suffix}", "value": value}
            for (f, b, k), observed in similarity.items()
            for suffix, value in (
                ("", observed),
                ("_low", observed - 0.06),
                ("_high", observed + 0.04),
                ("_null_mean", 0.0),
                ("_null_95", 0.02),
                ("_p_value", 0.01),
            )
        ]
    elif cell.stage == "ks":
        per_class = dict(zip(owner.classes, (0.1, 0.2, 0.3 + cell.seed / 10), strict=True))
        rows = [{"fraction": 0.1, "metric": "ks", "value": float(np.mean(list(per_class.values())))}]
        rows += [{"fraction": 0.1, "metric": "ks", "class": c, "value": v} for c, v in per_class.items()]
    else:
        rows = []
        for block, file in STAGES[cell.stage].predictions.items():
            probabilities = probabilities_of(cell, block or 0)
            write_table(folder / file, predictions_table(samples, owner, probabilities))
            of_block = score_rows(owner, labels, probabilities) + number_rows(choices_of(cell))
            rows += [row if block is None else {**row, "block": block} for row in of_block]
    write_json(folder / METRICS_FILE, rows)


def choices_of(cell):
    """What a stage notes beside the metrics of its predictions."""
    if cell.stage == "probe":
        return {"validation_metric": 0.5, "l2": 0.1, "converged": True}
    chosen = {"best_step": 5, "seconds": 1.0} if cell.stage == "finetune" else {"l2": 0.01, "converged": True}
    share = cell.labels.fraction
    drawn = {"labelled_images": round(80 * share), "labelled_share": share}
    return {**chosen, **drawn, "labelled_validation_images": round(20 * share)}


def write_run(protocol):
    for dataset in protocol.datasets:
        write_text(data_folder(dataset) / "card.json", card(dataset).model_dump_json())
    keys = Keys(protocol)
    for cell in all_cells(protocol):
        if cell == FAILED:
            write_cell(cell, keys.key(cell), "failed", "the loss is <b>not</b> finite")
        elif cell != MISSING:
            write_cell(cell, "0" * 64 if cell == STALE else keys.key(cell))
        if cell == DAMAGED:
            write_json(cell_path(cell) / METRICS_FILE, [])
