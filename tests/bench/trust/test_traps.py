"""Traps on made-up cells, each number against NumPy; and the table of traps in docs/trust.md."""

import ast
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from bench.cells.files import cell_path, write_table
from bench.cells.predictions import predictions_table
from bench.cells.records import CellRecord, provenance, write_record
from bench.cli import main
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from bench.trust.traps import TRAPS, spring
from imssl.datasets.prepared import read_prepared
from imssl.errors import UserError

ROOT = Path(bench.__file__).parents[1]
CELL = Cell("finetune", "chest", "moco", 0, 0.5)


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
    from sklearn.metrics import roc_auc_score

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
    offered = set(re.findall(r"`(?:bench trap )?([a-z]+-[a-z]+)`", table))
    assert offered == set(TRAPS)
