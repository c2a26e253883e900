import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from bench.cells.files import (
    CELL_FILE,
    csv_text,
    read_history,
    read_json,
    read_table,
    write_arrays,
    write_json,
    write_table,
)
from bench.cells.predictions import predictions_table, read_predictions
from bench.cells.records import Outdated, read_record
from imssl.datasets.prepared import Card, read_card, read_prepared
from imssl.durable import write_text
from imssl.errors import UserError


@pytest.fixture
def card(prepared_data: Path) -> Card:
    return read_card(prepared_data / "chest")


def test_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "new" / "file.txt"
    write_text(file, "first\r\nline ends stay\n")
    assert file.read_bytes() == b"first\r\nline ends stay\n"

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(file, "second")
    assert file.read_bytes().startswith(b"first")


def test_equal_content_is_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    write_json(tmp_path / "b.json", {"a": [1.5, None], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": [1.5, None], "b": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b'{"x": 1', b"\xff"])
def test_a_missing_or_torn_json_file_says_how_to_restore_it(tmp_path, content):
    file = tmp_path / "metrics.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.json cannot be read.*dvc repro"):
        read_json(file)


def test_a_table_reads_back_the_same_numbers(tmp_path):
    generator = np.random.default_rng(0)
    values = np.concatenate(
        [generator.normal(size=500) * 10.0 ** generator.integers(-300, 300, 500), [np.nan, 0.1 + 0.2]]
    )
    write_table(tmp_path / "t.csv", pd.DataFrame({"x": values}))
    np.testing.assert_array_equal(read_table(tmp_path / "t.csv")["x"].to_numpy(), values)
    assert b"\r" not in (tmp_path / "t.csv").read_bytes()


def test_ids_stay_text_whatever_they_look_like(tmp_path):
    ids = ["007", "1e5", "NA", "null", "None", "nan", "TRUE", "a,b", 'say "x"', "  x "]
    write_table(tmp_path / "t.csv", pd.DataFrame({"id": ids, "x": np.arange(10.0)}))
    assert read_table(tmp_path / "t.csv", text_columns=("id",))["id"].tolist() == ids


@pytest.mark.parametrize("content", [None, b"", b"\xff\xff", b'a,b\n1,"2\n'])
def test_a_missing_or_torn_table_says_how_to_restore_it(tmp_path, content):
    file = tmp_path / "t.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"t\.csv cannot be read.*dvc repro"):
        read_table(file)


@pytest.mark.parametrize("dataset", ["chest", "fundus"])
def test_predictions_read_back_as_they_were(prepared_data, tmp_path, dataset):
    prepared = read_prepared(prepared_data / dataset)
    test = prepared.indices("test")
    classes = len(prepared.card.classes)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(classes), len(test))
    table = predictions_table(prepared.samples.iloc[test], prepared.card, probabilities)
    write_table(tmp_path / "p.csv", table)
    found = read_predictions(tmp_path / "p.csv", prepared.card)
    np.testing.assert_array_equal(found.probabilities, probabilities)
    np.testing.assert_array_equal(found.labels, prepared.labels()[test])
    assert found.ids.tolist() == prepared.samples["id"].iloc[test].tolist()
    assert found.patients.tolist() == prepared.samples["patient"].iloc[test].tolist()


def test_an_image_without_a_patient_is_a_patient_of_its_own(card, tmp_path):
    columns = {name: [0, 1] for name in card.label_columns}
    columns |= {f"probability_{name}": [0.5, 0.25] for name in card.classes}
    write_table(tmp_path / "p.csv", pd.DataFrame({"id": ["NA", "b"], "patient": ["", "NA"], **columns}))
    found = read_predictions(tmp_path / "p.csv", card)
    assert found.ids.tolist() == ["NA", "b"]
    assert found.patients.tolist() == ["NA", "NA"]


def test_predictions_of_another_data_set_or_without_numbers_are_refused(card, tmp_path):
    write_table(tmp_path / "p.csv", pd.DataFrame({"id": ["a"], "patient": ["p"]}))
    with pytest.raises(UserError, match="lacks the columns"):
        read_predictions(tmp_path / "p.csv", card)
    columns = {name: [0] for name in card.label_columns}
    columns |= {f"probability_{name}": [np.nan] for name in card.classes}
    write_table(tmp_path / "p.csv", pd.DataFrame({"id": ["a"], "patient": ["p"], **columns}))
    with pytest.raises(UserError, match="not numbers"):
        read_predictions(tmp_path / "p.csv", card)


def test_a_record_of_another_schema_is_refused_and_a_missing_one_is_none(tmp_path):
    assert read_record(tmp_path) is None
    (tmp_path / CELL_FILE).write_text(json.dumps({"schema_version": 4}))
    with pytest.raises(UserError, match=r"not a cell record of schema 3(.|\n)*Delete"):
        read_record(tmp_path)


def test_a_record_of_an_earlier_version_is_no_damage(tmp_path):
    (tmp_path / CELL_FILE).write_text(json.dumps({"schema_version": 2, "provenance": {}}))
    with pytest.raises(Outdated, match="written by an earlier version of the suite"):
        read_record(tmp_path)


def test_an_archive_of_arrays_is_the_same_bytes_everywhere(tmp_path):
    """Written out by the ZIP specification (APPNOTE 6.3), field by field, and not by Python's zipfile."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_arrays(tmp_path / "a.npz", {"x": array})
    stored = io.BytesIO()
    np.save(stored, array)
    data, name = stored.getvalue(), b"x.npy"
    checksum, size = zlib.crc32(data), len(data)
    date = (0 << 9 | 1 << 5 | 1) << 16  # 1 January 1980, midnight
    fields = struct.pack("<HHHIIIIHH", 20, 0, 0, date, checksum, size, size, len(name), 0)
    local = b"PK\x03\x04" + fields + name + data
    central = b"PK\x01\x02" + struct.pack("<BB", 20, 3) + fields
    central += struct.pack("<HHHII", 0, 0, 0, 0o600 << 16, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    assert (tmp_path / "a.npz").read_bytes() == local + central + end


def test_arrays_are_read_back_as_they_were(tmp_path):
    arrays = {"b": np.array([["é", "x"]]), "a": np.eye(3)[:, ::-1], "empty": np.empty((0, 4), np.int8)}
    write_arrays(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert set(read.files) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
    with pytest.raises(ValueError, match="pickle"):
        write_arrays(tmp_path / "b.npz", {"x": np.array([object()])})
    assert not (tmp_path / "b.npz").exists()


ROWS = some.lists(
    some.tuples(
        some.one_of(some.none(), some.text(max_size=5), some.sampled_from([',"', "a\nb", "\r", "'", " x "])),
        some.floats(),
        some.one_of(some.none(), some.integers(-(2**40), 2**40)),
        some.integers(0, 3),
        some.booleans(),
    ),
    max_size=6,
)


@given(rows=ROWS, flag=some.booleans(), header=some.sampled_from(["text", 'a "name", quoted', ""]))
def test_a_table_is_written_as_pandas_writes_it(rows, flag, header):
    table = pd.DataFrame(rows, columns=[header, "number", "count", "whole", "flag"])
    table = table.astype({header: "str", "number": "float64", "count": "Int64", "whole": "int64"})
    table = table if flag else table.drop(columns="flag")
    assert csv_text(table) == table.to_csv(index=False, lineterminator="\n")


def test_numbers_of_half_the_precision_are_written_as_pandas_writes_them():
    table = pd.DataFrame({"a": np.array([0.1, 1 / 3, np.nan], dtype=np.float32), "b": ["x", None, "z"]})
    assert csv_text(table) == table.to_csv(index=False, lineterminator="\n")


@pytest.mark.parametrize(
    "history",
    [
        {"epoch": [0], "loss": [np.nan]},
        {"epoch": [1, 2], "loss": [0.1, 1 / 3], "knn_macro_auroc": [np.nan, 1e-300]},
        {"epoch": [1, 2], "=loss": [2.0, 1.0]},
        {"epoch": [1, 2], 'the "loss", so to speak': [2.0, -1e22]},
        {"epoch": [1, 2], "step": [-3, 4]},
        {"epoch": [1, 2], "what": ["a", "b"]},
        {"epoch": [], "loss": []},
    ],
)
def test_a_history_is_read_as_any_table(tmp_path, history):
    file = tmp_path / "history.csv"
    write_table(file, pd.DataFrame(history))
    pd.testing.assert_frame_equal(read_history(file, file.read_bytes()), read_table(file))
