"""Write a large leaderboard of made-up results, open it in Chromium, and print how long both take.

    python -m tests.large_leaderboard [--methods 50] [--datasets 10] [--seeds 5] [--rounds 3]

Every cell is written as the stages write it, with the predictions on 40 test images. What the page takes is
counted from the request to the moment at which its tables can be filtered, and from a search to its end.
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from bench.cells.files import STORE
from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import Protocol
from bench.report.leaderboard import write_reports
from tests.bench.small_run import FUNDUS, small_protocol, write_run
from tests.chromium import launched

SHARES = [0.01, 0.1, 1.0]


def large_protocol(methods: int, datasets: int, seeds: int) -> Protocol:
    """Rows that differ in a temperature, on data sets of one kind."""
    small = small_protocol()
    moco = small.methods["moco"]
    rows = {
        f"moco-{i}": {**moco, "file": "moco.py", "temperature": 0.1 + i / 1000} for i in range(methods - 2)
    }
    return small_protocol(
        datasets={f"fundus-{i}": small.datasets[FUNDUS] for i in range(datasets)},
        methods={"random-init": {}, "moco": moco, **rows},
        seeds=list(range(seeds)),
        label_fractions=SHARES,
    )


def seconds_in_chromium(page_file: Path) -> tuple[float, float]:
    """Seconds until the page is ready, and until its first search is done."""
    with sync_playwright() as started:
        browser = launched(started)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        begun = time.perf_counter()
        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector("html[data-ready]")
        ready = time.perf_counter() - begun
        begun = time.perf_counter()
        # By its name: to look for a label among so many elements takes Playwright longer than the search.
        page.locator("input[name=q]").fill("moco-1")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        searched = time.perf_counter() - begun
        browser.close()
    return ready, searched


def main() -> None:
    """Write, open, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, number in (("methods", 50), ("datasets", 10), ("seeds", 5), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=number)
    wanted = parser.parse_args()
    protocol = large_protocol(wanted.methods, wanted.datasets, wanted.seeds)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        Path(PARAMS).write_text("")  # the folder of a project; the protocol is the one above
        STORE.mkdir()  # so that the facts of the rows are kept
        write_run(protocol)
        for _ in range(wanted.rounds):
            begun = time.perf_counter()
            file = write_reports(protocol)
            written = time.perf_counter() - begun
            ready, searched = seconds_in_chromium(file)
            size = f"{file.stat().st_size / 2**20:.1f} MiB"
            seconds = f"ready after {ready:.2f} s, searched in {searched:.2f} s"
            print(f"written in {written:.1f} s, {size}; {seconds}", flush=True)


if __name__ == "__main__":
    main()
