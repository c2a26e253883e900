"""Twenty random kills of workers and drivers of ``bench run`` end bit for bit as a serial run."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import bench
from bench.cells.keys import Keys
from bench.launch.engines.local import InThisProcess
from bench.launch.fill_store import wanted_cells
from bench.protocol.protocol import read_protocol
from tests.bench.launch.filling import CHAIN, contents, filled

ROOT = Path(bench.__file__).parents[1]
KILLS = 20
# Checkpoints as often as a long run has them between two kills; the processes of cells are forked from it.
DRIVER = """
import sys
import imssl.pretrain
imssl.pretrain.CHECKPOINT_SECONDS = 0.3
from bench.launch.fill_store import fill_store
sys.exit(fill_store(sys.argv[1:]))
"""

pytestmark = [
    pytest.mark.walk,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and children that end with their parent"),
]


def driver(log):
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps({"only": CHAIN, "workers": 2})],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def workers():
    """Processes that compute cells now, by their claims."""
    processes = []
    for claim in Path(".bench/claims").glob("*"):
        with suppress(OSError, ValueError):
            processes.append(json.loads(claim.read_text())["process"])
    return processes


def test_killed_workers_and_drivers_end_as_a_serial_run(prepared_project, edited):
    edited("  epochs: 2\n  batch_size: 16", "  epochs: 30\n  batch_size: 16")
    cells = wanted_cells(read_protocol(), CHAIN)
    filled(InThisProcess(Keys(read_protocol()), lambda *_: None), cells)
    expected = contents()
    shutil.rmtree(".bench")
    draw, killed = random.Random(0), []
    with open("log", "w+") as log:
        process = driver(log)
        try:
            while process.poll() != 0 or len(killed) < KILLS:
                time.sleep(draw.uniform(0, 1.0))
                status = process.poll()
                if status == 0 and len(killed) < KILLS:
                    # All cells are there before all kills are done: once more, from the beginning.
                    assert contents() == expected
                    shutil.rmtree(".bench")
                if status is not None and (status != 0 or len(killed) < KILLS):
                    log.seek(0)
                    # A worker that was killed too often is given up; the next driver tries it again.
                    assert status in (0, 1, -signal.SIGKILL), log.read()
                    process = driver(log)
                elif len(killed) < KILLS and workers():
                    who = draw.choice(["driver", "worker"])
                    target = process.pid if who == "driver" else draw.choice(workers() or [0])
                    if target:
                        with suppress(ProcessLookupError):
                            os.kill(target, signal.SIGKILL)
                            killed.append(who)
                    if who == "driver":
                        process.wait()
        finally:
            process.kill()
            process.wait()
    assert {"driver", "worker"} == set(killed)
    assert contents() == expected
    assert not list(Path(".bench/claims").iterdir())
