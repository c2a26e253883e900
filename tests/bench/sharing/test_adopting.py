"""Finished cells among the results, without a store: what `dvc pull` leaves."""

import json
import shutil
from pathlib import Path

import pytest

from bench.cells import store
from bench.cells.files import cell_path
from bench.cells.keys import Keys
from bench.cells.records import provenance_file, read_record
from bench.cells.store.adopting import adopt, adoptable
from bench.forecast.estimate import RunEstimate
from bench.forecast.plan import plan
from bench.launch.fill_store import fill_store
from bench.launch.run_stage import run_stage
from bench.protocol.cell import all_cells
from bench.protocol.protocol import read_protocol


@pytest.fixture
def nothing_is_computed(monkeypatch):
    def refuse(*_):
        raise AssertionError("a cell was computed")

    monkeypatch.setattr("bench.launch.compute.compute_cell", refuse)
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "1")


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_after_a_pull_stages_lay_out_what_is_there_to_the_byte(checkout, nothing_is_computed, capsys):
    before = content(Path("results"))
    assert run_stage(["inputs"]) == 0
    assert "20 finished cells of results/ are now in the store" in capsys.readouterr().out
    for arguments in (["pretrain", "chest", "moco"], ["finetune", "chest", "moco"], ["knn", "chest"]):
        for output in (Path("results/chest") / arguments[0], Path("results/chest/provenance") / arguments[0]):
            shutil.rmtree(output / arguments[2] if len(arguments) == 3 else output)
        assert run_stage(arguments) == 0
    assert content(Path("results")) == before


def test_bench_run_adopts_too(checkout, nothing_is_computed, capsys):
    assert fill_store([json.dumps({"only": []})]) == 0
    assert "all 20 cells are in the store" in capsys.readouterr().out


def test_only_intact_cells_of_the_right_key_are_adopted(checkout):
    keys, cells = Keys(read_protocol()), list(all_cells(read_protocol()))
    changed, other_key, unknown_origin, gone, *rest = cells
    file = cell_path(changed) / "encoder.safetensors"
    file.write_bytes(file.read_bytes() + b"0")
    record = cell_path(other_key) / "cell.json"
    record.write_text(record.read_text().replace('"key": "', '"key": "0'))
    provenance_file(cell_path(unknown_origin)).write_text("{}")
    shutil.rmtree(cell_path(gone))
    assert adoptable(cells, keys) == adopt(cells, keys) == rest
    assert adopt(cells, keys) == []
    for cell in cells:
        assert (store.finished(cell, keys.key(cell)) is not None) == (cell in rest)


def test_the_plan_counts_them(checkout):
    estimate = RunEstimate(Keys(read_protocol()))
    stages = plan(read_protocol(), estimate, 1).stages
    assert [stage.adopted for stage in stages] == [stage.cells for stage in stages]
    assert sum(stage.missing for stage in stages) == 0


def test_a_cell_computed_again_is_the_same_to_the_byte_but_for_its_provenance(checkout, monkeypatch):
    """What is built on it depends on these bytes."""
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "1")
    before = content(Path("results/chest/pretrain/moco"))
    record = read_record(Path("results/chest/pretrain/moco/seed-0"))
    shutil.rmtree("results/chest/pretrain/moco")
    assert run_stage(["pretrain", "chest", "moco"]) == 0
    assert content(Path("results/chest/pretrain/moco")) == before
    again = read_record(Path("results/chest/pretrain/moco/seed-0"))
    assert again.provenance.costs["seconds"] != record.provenance.costs["seconds"]
    assert set(again.provenance.costs) == {"seconds", "peak_memory_mib", "images_per_second"}
