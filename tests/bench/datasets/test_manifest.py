"""Raw files: hashed once, and a change of one makes just its data set stale."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from bench.cells.files import INPUTS, STORE, data_folder, read_json
from bench.datasets import manifest
from bench.datasets.manifest import changes_between, manifest_of
from bench.datasets.raw_changes import changed_since_prepared
from bench.protocol.protocol import read_protocol
from bench.stages import data, inputs
from imssl.datasets.prepared import read_card
from imssl.settings.sources import AnyDataset
from tests.bench.datasets.test_adding import bench, picture, write


@pytest.fixture
def folder(project, tmp_path):
    folder = write(
        tmp_path / "raw",
        {f"{label}/{n}.png": picture(100 * ord(label) + n) for label in "ab" for n in range(8)},
    )
    for file in folder.rglob("*.png"):  # as if written long ago
        os.utime(file, (1_000_000_000, 1_000_000_000))
    assert bench("add-dataset", folder, "--on-bad-image", "skip").exit_code == 0
    return folder


def test_a_manifest_names_sizes_and_hashes(folder):
    files = manifest_of(read_protocol().datasets["raw"]).files
    assert set(files) == {f"{label}/{n}.png" for label in "ab" for n in range(8)}
    for name, file in files.items():
        content = (folder / name).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_file_is_hashed_once(folder, monkeypatch):
    settings = read_protocol().datasets["raw"]
    first = manifest_of(settings)
    hashed = []
    real = manifest._hash
    monkeypatch.setattr(manifest, "_hash", lambda file: hashed.append(file.name) or real(file))
    assert manifest_of(settings) == first
    assert hashed == []
    (folder / "a" / "3.png").write_bytes(picture(5))
    assert manifest_of(settings) != first
    assert hashed == ["3.png"]


COMMON = {"size": 8, "channels": 1, "horizontal_flip": True, "vertical_flip": False}


def settings_of(**row):
    return TypeAdapter(AnyDataset).validate_python(COMMON | row)


def test_other_sets_and_sizes_of_medmnist_beside_it_are_no_part_of_a_set(tmp_path):
    write(tmp_path, {name: name for name in ("pathmnist.npz", "pathmnist_64.npz", "pathmnist2.npz", "a.txt")})
    row = {"source": "medmnist", "flag": "pathmnist", "path": str(tmp_path)}
    for resolution, name in ((28, "pathmnist.npz"), (64, "pathmnist_64.npz")):
        assert set(manifest_of(settings_of(**row, resolution=resolution)).files) == {name}


def test_a_split_file_elsewhere_counts_whatever_lies_below_the_path(project, tmp_path):
    """The file that is read is the one that params.yaml names, from the project's folder."""
    raw = write(tmp_path / "raw", {"1/0/a.png": picture(1), "split.csv": "of somebody else"})
    write(project, {"split.csv": "first"})
    settings = settings_of(source="idc", path=str(raw), split_file="split.csv")
    before = manifest_of(settings)
    assert before.files["split.csv"].sha256 == hashlib.sha256(b"of somebody else").hexdigest()
    assert before.files["split_file: split.csv"].sha256 == hashlib.sha256(b"first").hexdigest()
    write(project, {"split.csv": "second"})
    assert vars(changes_between(before, manifest_of(settings)))["changed"] == ["split_file: split.csv"]
    raw.rename(tmp_path / "not mounted")
    assert manifest_of(settings) is None


def test_a_table_is_the_one_below_the_path_where_there_is_one(project, tmp_path):
    raw = write(tmp_path / "raw", {"a.png": picture(1), "rows.csv": "below"})
    write(project, {"rows.csv": "beside params.yaml", "others.csv": "elsewhere"})
    row = {"source": "table", "path": str(raw), "path_column": "file", "label_columns": ["label"]}
    row |= {"task": "multiclass", "classes": ["a", "b", "c"]}
    assert set(manifest_of(settings_of(**row, table="rows.csv")).files) == {"a.png", "rows.csv"}
    elsewhere = manifest_of(settings_of(**row, table="others.csv"))
    assert set(elsewhere.files) == {"a.png", "rows.csv", "table: others.csv"}


def test_a_change_makes_exactly_its_data_set_stale_and_is_told_by_name(folder, capsys):
    protocol = read_protocol()
    inputs.run(protocol)
    data.run("raw", protocol)
    before = {file.name: file.read_bytes() for file in INPUTS.iterdir()}
    of_card = read_card(data_folder("raw")).inputs["raw files"]
    assert read_json(INPUTS / "data-raw.json")["raw"] == {"sha256": of_card}
    assert inputs.stale_data(protocol) == []
    assert changed_since_prepared("raw", protocol.datasets["raw"]) is None
    (folder / "a" / "0.png").unlink()
    write(folder, {"b/new.png": picture(77), "b/1.png": picture(78)})
    changes = changed_since_prepared("raw", protocol.datasets["raw"])
    assert vars(changes) == {"added": ["b/new.png"], "removed": ["a/0.png"], "changed": ["b/1.png"]}
    assert inputs.stale_data(protocol) == ["raw"]
    capsys.readouterr()
    inputs.run(protocol)
    assert "raw files of raw have changed" in capsys.readouterr().out
    after = {file.name: file.read_bytes() for file in INPUTS.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"data-raw.json"}
    told = json.loads(bench("audit-data", "raw", "--json").output)
    assert told[0]["raw_files"]["added"] == ["b/new.png"]


def test_raw_files_on_a_disk_that_is_not_there_change_nothing(folder):
    protocol = read_protocol()
    inputs.run(protocol)
    before = (INPUTS / "data-raw.json").read_bytes()
    folder.rename(folder.with_name("elsewhere"))
    assert inputs.stale_data(protocol) == []
    inputs.run(protocol)
    assert (INPUTS / "data-raw.json").read_bytes() == before
    assert Path("params.yaml").exists()


def test_in_a_clone_without_the_raw_files_the_card_says_what_they_were(folder):
    protocol = read_protocol()
    inputs.run(protocol)
    data.run("raw", protocol)
    before = read_json(INPUTS / "data-raw.json")
    folder.rename(folder.with_name("not here"))
    shutil.rmtree(STORE)
    inputs.run(protocol)
    assert read_json(INPUTS / "data-raw.json") == before
