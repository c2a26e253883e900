"""Edits during a run, and kills while DVC writes: the next run ends right (the harness: edit_harness.py)."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.project_copy import ROOT, copy_packages

HARNESS = Path(__file__).parent / "edit_harness.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and kills process groups")


@pytest.mark.walk
@pytest.mark.skipif(not (ROOT / "dvc.yaml").exists(), reason="needs the project's folder")
@pytest.mark.parametrize(
    "points",
    [
        2,
        pytest.param(
            50,
            marks=pytest.mark.skipif("IMSSL_BENCH_FIFTY_EDITS" not in os.environ, reason="an hour"),
        ),
    ],
)
def test_a_run_after_an_edit_or_a_kill_at_any_moment_ends_as_an_undisturbed_one(points):
    ended = subprocess.run(
        [sys.executable, str(HARNESS), "--points", str(points), "--kills", str(points), "--seed", "1"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    for kind in ("edits", "kills"):
        assert f"{points} of {points} {kind}" in ended.stdout


FILL = """
import json, sys
from bench.protocol.source_files.at_start import sources_at_start
sources_at_start()
from bench.launch.fill_store import fill_store
sys.exit(fill_store([json.dumps({"only": ["pretrain/fundus/moco"]})]))
"""


@pytest.mark.slow
def test_numbers_of_old_code_are_never_kept_under_the_new_codes_key(prepared_project):
    """A loss is saved while a cell is at work: nothing is kept, and the next run is of the new code."""
    copy_packages(Path())
    params = Path("params.yaml")
    text, short = params.read_text(), "  epochs: 2\n  batch_size: 16"
    assert short in text
    params.write_text(text.replace(short, "  epochs: 60\n  batch_size: 16"))
    environment = os.environ | {"PYTHONPATH": str(prepared_project), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.Popen(
        [sys.executable, "-c", FILL],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 600
    while not list(Path(".bench/work").glob("pretrain-*.holder")):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (old,) = [json.loads(file.read_text())["command"] for file in Path(".bench/claims").iterdir()]
    assert old == "computing pretrain fundus moco seed 0"
    losses = Path("imssl/losses.py")
    losses.write_text(losses.read_text() + "\n# saved meanwhile\n")
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 75, output
    assert "losses.py was saved while pretrain fundus moco seed 0 was being computed" in output
    assert not list(Path(".bench/cells").rglob("cell.json"))
    params.write_text(text)
    again = subprocess.run([sys.executable, "-c", FILL], env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert len(list(Path(".bench/cells").rglob("cell.json"))) == 1
