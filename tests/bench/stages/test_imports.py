"""What starting a stage costs: those that compute with NumPy alone do not load torch."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("stage", ["ks", "reuse"])
def test_a_stage_of_numpy_does_not_load_torch(stage):
    program = f"import sys, bench.stages.{stage}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
