"""Runs that are killed go on and end as if nothing had been (the harness: kill_harness.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bench

HARNESS = Path(__file__).parent / "kill_harness.py"
ROOT = Path(bench.__file__).parents[1]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and kills process groups")


def killed(points: int, seed: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(HARNESS), "--points", str(points), "--seed", str(seed)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_killed_stages_end_as_undisturbed_ones():
    ended = killed(points=4, seed=1)
    assert ended.returncode == 0, ended.stdout
    assert "4 of 4 kills" in ended.stdout


@pytest.mark.slow
@pytest.mark.skipif("IMSSL_BENCH_FIFTY_KILLS" not in os.environ, reason="minutes: IMSSL_BENCH_FIFTY_KILLS=1")
def test_fifty_killed_stages_end_as_undisturbed_ones():
    ended = killed(points=50, seed=0)
    assert ended.returncode == 0, ended.stdout
    assert "50 of 50 kills" in ended.stdout
