"""Compute the cells of one data set by one process, by all cores and by Ray in turns, and time them.

    python -m tests.engines [--dataset phantom-fundus] [--rounds 2]

It works in a temporary project, with the data prepared before and no cell in the store, so that nothing but
`bench run` is timed. Nothing else should be at work on the machine.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime

from bench.cells.files import PROVENANCE_FILE, STORE
from bench.protocol.protocol import read_protocol
from tests.project_copy import ROOT

ENGINES = {
    "one process": ({"IMSSL_BENCH_WORKERS": "1"}, ()),
    "all cores": ({}, ()),
    # Ray would ask the system to put its workers last.
    "Ray": ({"RAY_worker_niceness": "0"}, ("--on", "ray")),
}


def bench(*arguments: str, **settings: str) -> None:
    """Run a verb in the current folder."""
    subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | settings,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def times_of_cells() -> tuple[float, float, int]:
    """Seconds of all cells together, from the first one's start to the last one's end, and their number."""
    records = [json.loads(file.read_text()) for file in STORE.rglob(PROVENANCE_FILE)]
    starts = [datetime.fromisoformat(record["started"]).timestamp() for record in records]
    ends = [start + record["seconds"] for start, record in zip(starts, records, strict=True)]
    return sum(record["seconds"] for record in records), max(ends) - min(starts), len(records)


def main() -> None:
    """Prepare, run in turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", default="phantom-fundus")
    parser.add_argument("--rounds", type=int, default=2)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        bench("init", "project")
        os.chdir("project")
        bench("repro", *(f"data@{dataset}" for dataset in read_protocol().datasets))
        shutil.copytree(STORE, "without-cells")
        for _ in range(wanted.rounds):
            for engine, (settings, options) in ENGINES.items():
                shutil.rmtree(STORE)
                shutil.copytree("without-cells", STORE)
                begun = time.perf_counter()
                bench("run", "--no-repro", "--only", f"*/{wanted.dataset}/*", *options, **settings)
                seconds = time.perf_counter() - begun
                of_cells, span, cells = times_of_cells()
                print(
                    f"{engine}: {seconds:.1f} s, from the first cell to the last {span:.0f} s; "
                    f"{cells} cells of {of_cells:.1f} s together",
                    flush=True,
                )


if __name__ == "__main__":
    main()
