"""Traps on made-up cells, each number against NumPy; and the table of traps in docs/trust.md."""

import ast
import json
import re
import sys
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch.nn import BatchNorm2d

import bench
from bench.cells.encoders import load_encoder
from bench.cells.files import cell_path, write_table
from bench.cells.job import Job
from bench.cells.keys import Keys
from bench.cells.predictions import predictions_table
from bench.cells.records import CellRecord, provenance, write_record
from bench.cli import main
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol, read_protocol
from bench.stages.pretrain import compute
from bench.trust.traps import TRAPS, cells_for, spring
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.encoder import Encoder
from imssl.errors import UserError
from imssl.settings.labels import LabelSet

ROOT = Path(bench.__file__).parents[1]
CELL = Cell("finetune", "chest", "moco", 0, LabelSet(0.5))


@pytest.fixture
def finetuned(prepared_project: Path) -> Path:
    """A made-up cell of full fine-tuning: predictions, history and features."""
    generator = np.random.default_rng(0)
    prepared = read_prepared(Path("data/chest"))
    test = prepared.indices("test")
    # Classes of very unequal difficulty.
    ease = np.array([0.0, 0.1, 0.3, 1.0, 3.0])
    logits = generator.normal(size=(len(test), 5)) + ease * (2 * prepared.labels()[test].astype(float) - 1)
    folder = cell_path(CELL)
    folder.mkdir(parents=True)
    table = predictions_table(prepared.samples.iloc[test], prepared.card, 1 / (1 + np.exp(-logits)))
    write_table(folder / "predictions.csv", table)
    history = pd.DataFrame({"step": [1, 2, 3], "validation_metric": [0.6, 0.8, 0.7]})
    write_table(folder / "history.csv", history)
    before = generator.normal(size=(20, 64)).astype(np.float32)
    after = before + 0.1 * generator.normal(size=(20, 64)).astype(np.float32)
    np.savez(folder / "features.npz", allow_pickle=False, before_4=before, after_4=after)
    record = CellRecord(
        key="0" * 64, stage="finetune", dataset="chest", method="moco", seed=0, fraction=0.5,
        status="done", reason=None, files={}, provenance=provenance(datetime.now(UTC), 1.0, "CPU", "x"),
    )  # fmt: skip
    write_record(folder, record)
    return folder


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """The biased estimate, as defined (Kornblith et al. 2019, eq. 5)."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return float(np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def features(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / "features.npz", allow_pickle=False) as stored:
        return stored["before_4"].astype(float), stored["after_4"].astype(float)


def test_the_last_epoch_is_shown_beside_the_best(finetuned):
    (number,) = spring("last-epoch", read_protocol())
    assert (number.honest, number.trapped) == (0.8, 0.7)
    assert number.moved == pytest.approx(-0.1)
    assert number.where == "chest moco seed 0 0.5"


def test_the_narrow_interval_shrinks_with_the_resamples(finetuned, edited):
    (few,) = spring("narrow-interval", read_protocol())
    (many,) = spring("narrow-interval", edited("resamples: 100", "resamples: 1600"))
    assert many.honest == pytest.approx(few.honest, rel=0.3)  # patients decide it, not resamples
    assert many.trapped == pytest.approx(few.trapped / 4, rel=0.2)
    assert many.trapped < many.honest / 20


def test_the_spread_between_classes_widens_the_interval(finetuned):
    (number,) = spring("class-spread", read_protocol())
    assert number.trapped > 1.5 * number.honest > 0


def test_dropping_the_last_batch_is_the_metric_of_fewer_images(finetuned):
    table = pd.read_csv(finetuned / "predictions.csv", dtype={"id": str, "patient": str})
    classes = [name.removeprefix("probability_") for name in table.columns if name.startswith("probability_")]

    def macro(rows: pd.DataFrame) -> float:
        present = [name for name in classes if rows[name].nunique() > 1]
        return float(np.mean([roc_auc_score(rows[name], rows[f"probability_{name}"]) for name in present]))

    (number,) = spring("drop-last", read_protocol())
    assert len(table) == 24
    assert number.quantity.endswith("8 dropped")
    assert number.honest == pytest.approx(macro(table))
    assert number.trapped == pytest.approx(macro(table[:16]))


def test_biased_cka_of_unrelated_images_is_far_above_zero(finetuned):
    (number,) = spring("biased-cka", read_protocol())
    before, after = features(finetuned)
    chance = [linear_cka(before, np.random.default_rng(i).permutation(after)) for i in range(50)]
    assert min(chance) <= number.trapped <= max(chance)
    assert number.trapped > 0.5
    assert abs(number.honest) < 0.3


def test_unpaired_rows_lose_the_similarity(finetuned):
    (number,) = spring("unpaired-cka", read_protocol())
    assert number.honest > 0.9
    assert abs(number.trapped) < 0.3


def test_bandwidths_at_both_ends_say_nothing(finetuned):
    (narrow,) = spring("narrow-bandwidth", read_protocol())
    assert narrow.trapped == pytest.approx(1, abs=1e-6)  # though the images are unrelated
    assert abs(narrow.honest) < 0.3
    (wide,) = spring("wide-bandwidth", read_protocol())
    (linear,) = spring("unpaired-cka", read_protocol())
    assert wide.trapped == pytest.approx(linear.honest, abs=1e-3)


def pretrained(cell: Cell, protocol: Protocol) -> Path:
    """A finished cell of pretraining, computed here."""
    folder = cell_path(cell)
    folder.mkdir(parents=True)
    compute(Job(cell, Keys(protocol), folder, lambda done, steps: None))
    record = CellRecord(
        key="0" * 64, stage="pretrain", dataset=cell.dataset, method=cell.method, seed=0, fraction=None,
        status="done", reason=None, files={}, provenance=provenance(datetime.now(UTC), 1.0, "CPU", "x"),
    )  # fmt: skip
    write_record(folder, record)
    return folder


def plain_statistics(encoder: Encoder, images: torch.Tensor) -> Encoder:
    """Batch norm with the means and variances of one batch of all training images, layer by layer."""
    filled, measured = deepcopy(encoder), {}
    layers = {name: layer for name, layer in filled.named_modules() if isinstance(layer, BatchNorm2d)}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, inputs, name=name: measured.update({name: inputs[0]}))
    with torch.no_grad():
        filled.train()(images)
    for name, layer in layers.items():
        layer.running_mean = measured[name].mean(dim=(0, 2, 3))
        layer.running_var = measured[name].var(dim=(0, 2, 3), correction=0)
    return filled.eval()


def plain_probe(encoder: Encoder, prepared: Prepared, images: torch.Tensor, strengths) -> float:
    """Macro AUROC of scikit-learn's logistic regression on the last block, one classifier per label."""
    with torch.no_grad():
        features = encoder.eval()(images).blocks[-1].mean(dim=(2, 3)).double().numpy()
    labels = prepared.labels()
    train, val, test = (prepared.indices(split) for split in ("train", "val", "test"))
    scaled = StandardScaler().fit(features[train]).transform(features)

    def macro(strength: float, rows: np.ndarray) -> float:
        aurocs = []
        for column in labels.T:
            if np.ptp(column[train]) and np.ptp(column[rows]):
                model = LogisticRegression(C=1 / (strength * len(train)), tol=1e-8, max_iter=10_000)
                scores = model.fit(scaled[train], column[train]).decision_function(scaled[rows])
                aurocs.append(roc_auc_score(column[rows], scores))
        return float(np.mean(aurocs))

    return macro(max(strengths, key=lambda strength: (macro(strength, val), strength)), test)


@pytest.mark.parametrize("method", ["random-init", "moco"])
def test_the_state_of_batch_norm_moves_the_probe(prepared_project, method):
    protocol = read_protocol()
    pretrained(Cell("pretrain", "chest", method, 0), protocol)
    (number,) = spring("batch-norm-state", protocol)
    assert number.where == f"chest {method} seed 0"
    # The same run without filling, into another folder: the state that training has left.
    (prepared_project / "unfilled").mkdir()
    unfilled_protocol = protocol.model_copy(
        update={"pretrain": protocol.pretrain.model_copy(update={"fill_batch_norm": False})}
    )
    cell = Cell("pretrain", "chest", method, 0)
    compute(Job(cell, Keys(unfilled_protocol), prepared_project / "unfilled", lambda done, steps: None))
    prepared = read_prepared(Path("data/chest"))
    unfilled = load_encoder(prepared_project / "unfilled", protocol, prepared)
    mean, std = prepared.card.channel_mean[0], prepared.card.channel_std[0]
    pixels = prepared.images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    images = torch.from_numpy((pixels - np.float32(mean)) / np.float32(std))
    filled = plain_statistics(unfilled, images[prepared.indices("train")])
    strengths = protocol.probe.l2
    assert number.trapped == pytest.approx(plain_probe(unfilled, prepared, images, strengths), abs=1e-9)
    assert number.honest == pytest.approx(plain_probe(filled, prepared, images, strengths), abs=1e-9)
    assert abs(number.moved) > 0.02


def test_the_untrained_encoder_is_trapped_once_and_the_rest_is_counted(
    prepared_project, edited, monkeypatch, capsys
):
    protocol = edited("  random-init: {}\n", "  random-init: {}\n  random-init-filled: {}\n")
    for method in ("random-init", "random-init-filled"):
        pretrained(Cell("pretrain", "chest", method, 0), protocol)
    pretrained(Cell("pretrain", "fundus", "random-init-filled", 0), protocol)
    assert [cell.dataset for cell in cells_for("batch-norm-state", protocol)] == ["chest", "fundus"]
    status, out, err = bench_command(
        monkeypatch, capsys, "trap", "batch-norm-state", "--cells", "1", "--json"
    )
    assert (status, len(json.loads(out))) == (0, 1)
    assert "set on 1 of 2 finished cells" in err


def test_statistics_that_are_missing_are_one_message(prepared_project):
    folder = pretrained(Cell("pretrain", "chest", "moco", 0), read_protocol())
    (folder / "batch_norm_before_filling.safetensors").unlink()
    with pytest.raises(UserError, match=r"batch_norm_before_filling.*dvc repro"):
        spring("batch-norm-state", read_protocol())


def bench_command(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_the_verb_prints_both_numbers_and_how_far_it_moves(finetuned, monkeypatch, capsys):
    status, out, _ = bench_command(monkeypatch, capsys, "trap", "last-epoch", "--json")
    assert status == 0
    assert json.loads(out)[0]["trapped"] == 0.7
    status, out, _ = bench_command(monkeypatch, capsys, "trap", "last-epoch")
    assert "moves 1 number by -0.100 on average" in " ".join(out.split())
    status, out, _ = bench_command(monkeypatch, capsys, "trap")
    assert all(name in out for name in TRAPS)


def test_mistakes_are_one_message(prepared_project, monkeypatch, capsys):
    assert bench_command(monkeypatch, capsys, "trap", "mousetrap")[0] == 2
    with pytest.raises(UserError, match="no fine-tuned cells"):
        spring("drop-last", read_protocol())


def test_every_row_of_the_documentation_names_tests_and_traps_that_exist():
    defined = {
        node.name
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    table = page.partition("| trap in released code |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) >= 13  # as many as the issue lists
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= defined, row
    offered = set(re.findall(r"`(?:bench trap )?([a-z]+(?:-[a-z]+)+)`", table))
    assert offered == set(TRAPS)
