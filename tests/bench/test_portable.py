"""The portable way, as on macOS, gives the same bytes; what is written has names that every system takes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cells.files import PROVENANCE_FILE, STATISTICS_FILE, cell_path, provenance_folder
from bench.cells.keys import Keys
from bench.launch.engines.local import InThisProcess
from bench.launch.fill_store import wanted_cells
from bench.launch.repro import CALL_HERE
from bench.protocol.cell import all_cells
from bench.protocol.protocol import read_protocol
from tests.bench.edit_harness import make_project, start
from tests.bench.launch.filling import CHAIN, contents, filled
from tests.bench.small_run import small_protocol
from tests.project_copy import ROOT

PORTABLE = {"IMSSL_BENCH_PORTABLE": "1"}
# Windows allows 260 characters, folder of the project and all.
LONGEST_IN_A_PROJECT = 200


@pytest.mark.slow
def test_started_processes_and_a_cold_stage_give_the_bytes_of_a_serial_run(prepared_project):
    cells = wanted_cells(read_protocol(), CHAIN)
    filled(InThisProcess(Keys(read_protocol()), lambda *_: None), cells)
    serial = contents()
    shutil.rmtree(".bench")
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | PORTABLE
    request = json.dumps({"only": CHAIN, "workers": 2})
    fill = [sys.executable, "-c", CALL_HERE, "bench.launch.fill_store", "fill_store", request]
    subprocess.run(fill, env=environment, check=True)
    assert contents() == serial
    stage = [sys.executable, "-m", "bench.stage", "pretrain", "chest", "moco"]
    subprocess.run(stage, env=environment, check=True)
    (encoder,) = Path("results/chest/pretrain/moco").rglob("encoder.safetensors")
    (kept,) = Path(".bench/cells/pretrain").rglob("encoder.safetensors")
    assert encoder.read_bytes() == kept.read_bytes()
    assert contents() == serial


def written_by_run(folder, monkeypatch, **environment):
    """All that ``bench repro`` writes for a whole protocol, but what clocks and memory decide."""
    make_project(folder)
    with monkeypatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        process = start(folder, ("-m", "bench", "repro"))
        output, _ = process.communicate()
    assert process.returncode == 0, output
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for place in ("data", "results")
        for file in (folder / place).rglob("*")
        if file.is_file() and file.name != PROVENANCE_FILE
    }


@pytest.mark.slow
def test_a_whole_run_gives_the_same_bytes(tmp_path, monkeypatch):
    portable = written_by_run(tmp_path / "portable", monkeypatch, **PORTABLE)
    usual = written_by_run(tmp_path / "usual", monkeypatch)
    assert len(usual) > 50
    assert {name for name in usual | portable if usual.get(name) != portable.get(name)} == set()


def test_no_name_is_too_special_for_another_system(run):
    names = [path.relative_to(run).as_posix() for path in run.rglob("*")]
    assert len(names) > 100
    assert len({name.lower() for name in names}) == len(set(names))
    assert not any(character in name for name in names for character in '<>:"|?*\\')
    assert not any(part.endswith((".", " ")) for name in names for part in name.split("/"))


def test_paths_of_the_longest_names_leave_room_for_the_folder_of_the_project():
    protocol = small_protocol(seeds=[2**31 - 1], labels_per_class=[100_000])
    longest = {
        "datasets": {"d" * 40: next(iter(protocol.datasets.values()))},
        "methods": {"m" * 40: next(iter(protocol.methods.values()))},
    }
    for cell in all_cells(protocol.model_copy(update=longest)):
        # No file's name is longer than this one; it is written under another name first.
        provenance = provenance_folder(cell.stage, cell.dataset, cell.method) / cell.folder
        for folder in (cell_path(cell), provenance):
            assert len(str(folder / f".{STATISTICS_FILE}.12345678.partial")) < LONGEST_IN_A_PROJECT
