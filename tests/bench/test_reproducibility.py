"""No hidden state: two runs that differ in everything that must not matter give the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench
from imssl.datasets import eyepacs, idc
from imssl.datasets.prepare import prepare
from tests.project_copy import tiny_without

ROOT = Path(bench.__file__).parents[1]

# Runs a whole pipeline and writes down a digest of every file, measured costs aside.
PROGRAM = """
import json, os, sys
from pathlib import Path

def disturb():
    import random
    import numpy, torch
    random.seed(99), numpy.random.seed(99), torch.manual_seed(99)
    torch.rand(1000), numpy.random.rand(7)
    scandir, listdir = os.scandir, os.listdir
    class Reversed:
        def __init__(self, path="."):
            with scandir(path) as entries:
                self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))
        def __iter__(self): return self.entries
        def __next__(self): return next(self.entries)
        def __enter__(self): return self
        def __exit__(self, *_): pass
        def close(self): pass
    os.scandir = Reversed
    os.listdir = lambda path=".": sorted(listdir(path), reverse=True)

if "disturbed" in sys.argv:
    disturb()
from bench.launch.run_stage import run_stage
from bench.protocol.protocol import read_protocol
from tests.bench.stage_calls import stage_calls
for arguments in [["data", "chest"], *stage_calls("chest", read_protocol()), ["report"]]:
    assert run_stage(arguments) == 0
from bench.cells.files import PROVENANCE_FILE
from bench.trust.compared_files import COSTS, content_digest
import hashlib
import pandas as pd
digests = {}
for file in sorted([*Path("data").rglob("*"), *Path("results").rglob("*")]):
    # The provenance holds all that a clock decides.
    if file.is_file() and file.name != PROVENANCE_FILE:
        digests[file.as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
digests["reports/metrics.json"] = content_digest(Path("reports/metrics.json"))
table = pd.read_csv("reports/results.csv")
digests["results.csv"] = table[~table["metric"].isin(COSTS)].to_csv()
from bench.cells.keys import Keys
from bench.protocol.cell import all_cells
from bench.protocol.protocol import read_protocol
protocol = read_protocol()
digests["keys"] = [Keys(protocol).key(cell) for cell in all_cells(protocol)]
Path("digests.json").write_text(json.dumps(digests))
"""

PLAIN = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "IMSSL_BENCH_WORKERS": "1",
    "TZ": "UTC",
    "LC_ALL": "C",
    "PYTHONUTF8": "1",
}
OTHER = {
    "PYTHONHASHSEED": "4711",
    "OMP_NUM_THREADS": "3",
    "MKL_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "IMSSL_BENCH_WORKERS": "3",
    "TZ": "Pacific/Kiritimati",
    "LC_ALL": "C.UTF-8",
    "LANG": "tr_TR.UTF-8",
    "PYTHONUTF8": "0",
    "COLUMNS": "31",
    "HOME": "/nonexistent",
}


def run(folder: Path, environment: dict[str, str], *arguments: str) -> dict[str, object]:
    folder.mkdir()
    text = tiny_without("fundus", "random-init", "moco")
    (folder / "params.yaml").write_text(text.replace("baseline: moco", "baseline: moco-barlow"))
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "TMPDIR", "VIRTUAL_ENV")}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=kept | environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    digests: dict[str, object] = json.loads((folder / "digests.json").read_text())
    return digests


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_seeds_hashes_threads_workers_time_zone_locale_folder_and_file_order_do_not_matter(tmp_path):
    plain = run(tmp_path / "plain", PLAIN)
    other = run(tmp_path / "ein ändrer Ordner", OTHER, "disturbed")
    assert len(plain) > 20
    assert "results/chest/pretrain/moco-barlow/seed-0/encoder.safetensors" in plain
    assert {name for name in plain.keys() | other.keys() if plain.get(name) != other.get(name)} == set()


SOURCES = {
    "idc": (
        lambda folder: idc.source(folder, None),
        [f"{patient}/{label}/{patient}_idx5_x{x}_y1_class{label}.png" for patient in range(8863, 8869)
         for label in (0, 1) for x in range(2)],
    ),
    "eyepacs": (
        lambda folder: eyepacs.source(folder, "five"),
        [f"train/{patient}_{eye}.jpeg" for patient in range(10, 18) for eye in ("left", "right")],
    ),
}  # fmt: skip


def walking(order: str):
    """`os.walk` that lists everything in one order or the other."""
    real, backwards = os.walk, order == "backwards"

    def walk(top: Path):
        for parent, folders, names in sorted(real(top), reverse=backwards):
            yield parent, sorted(folders, reverse=backwards), sorted(names, reverse=backwards)

    return walk


@pytest.mark.parametrize("name", SOURCES)
def test_the_order_in_which_a_folder_lists_its_files_does_not_matter(tmp_path, monkeypatch, name):
    open_source, files = SOURCES[name]
    cards = []
    for order in ("forwards", "backwards"):
        folder = tmp_path / order
        for file in files if order == "forwards" else reversed(files):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(sum(file.encode())).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / file, "PNG")
        rows = [f"{Path(file).stem},{i % 5}\n" for i, file in enumerate(files)]
        (folder / "trainLabels.csv").write_text("image,level\n" + "".join(rows))
        with monkeypatch.context() as patch:
            patch.setattr(os, "walk", walking(order))
            source = open_source(folder)
        out = tmp_path / f"prepared-{order}"
        cards.append(
            prepare(source, name="x", size=8, channels=3, split_seed=0, on_bad_image="skip", folder=out)
        )
    assert cards[0] == cards[1]
    assert cards[0].counts["test"].samples > 0
