"""Predictions of many cells are read as each alone would be, and their test images once."""

import numpy as np
import pandas as pd
import pytest

import bench.summary.prediction_files
from bench.cells.files import write_table
from bench.cells.predictions import predictions_table, read_predictions
from bench.protocol.cell import Cell
from bench.summary.prediction_files import PredictionFiles
from imssl.errors import UserError
from imssl.spreadsheet import EXACT_NUMBERS
from tests.bench.small_run import CHEST, FUNDUS, card, probabilities_of, samples_of


@pytest.fixture
def parsed(monkeypatch):
    """The files that were parsed as a whole."""
    files = []
    monkeypatch.setattr(
        bench.summary.prediction_files,
        "read_predictions",
        lambda file, card: (files.append(file.name), read_predictions(file, card))[1],
    )
    return files


def written(file, dataset, seed, samples=None):
    cell = Cell("finetune", dataset, "moco", seed)
    samples = samples_of(dataset) if samples is None else samples
    # All digits, as the stages write them.
    probabilities = probabilities_of(cell)[: len(samples)] * np.nextafter(1, 0)
    write_table(file, predictions_table(samples, card(dataset), probabilities))
    return file


def assert_same(one, other):
    for name in ("ids", "patients", "labels", "probabilities"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("dataset", [CHEST, FUNDUS])
def test_files_of_the_same_images_are_parsed_once(tmp_path, parsed, dataset):
    reader = PredictionFiles(card(dataset))
    files = [written(tmp_path / f"{seed}.csv", dataset, seed) for seed in range(3)]
    for file in files:
        assert_same(reader.read(file, file.read_bytes()), read_predictions(file, card(dataset)))
    assert parsed == ["0.csv"]


def test_a_file_of_other_images_is_parsed_for_itself(tmp_path, parsed):
    reader, samples = PredictionFiles(card(CHEST)), samples_of(CHEST)
    quoted = samples.assign(id=[f'"{i}",\n' for i in range(len(samples))])
    relabelled = samples.assign(nodule=1 - samples["nodule"])
    for place, own in enumerate((samples, samples[1:], samples[::-1], relabelled, quoted)):
        file = written(tmp_path / f"{place}.csv", CHEST, place, own)
        assert_same(reader.read(file, file.read_bytes()), read_predictions(file, card(CHEST)))
    assert len(parsed) == 5


def test_columns_in_another_order_are_found_by_name(tmp_path):
    reader = PredictionFiles(card(CHEST))
    file = written(tmp_path / "p.csv", CHEST, 0)
    before = reader.read(file, file.read_bytes())
    table = pd.read_csv(file, dtype={"id": str, "patient": str}, **EXACT_NUMBERS)
    write_table(file, table[table.columns[::-1]])
    assert_same(reader.read(file, file.read_bytes()), before)


@pytest.mark.parametrize(
    ("old", "new"), [("0.", "1."), ("0.", "nan"), ("0.", "x"), ("i39,", "i38,"), ("probability_", "p_")]
)
def test_a_damaged_file_is_refused_in_the_same_words(tmp_path, old, new):
    reader = PredictionFiles(card(CHEST))
    first = written(tmp_path / "a.csv", CHEST, 0)
    reader.read(first, first.read_bytes())
    file = written(tmp_path / "b.csv", CHEST, 1)
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError) as alone:
        read_predictions(file, card(CHEST))
    with pytest.raises(UserError) as among_others:
        reader.read(file, file.read_bytes())
    assert str(among_others.value) == str(alone.value)
