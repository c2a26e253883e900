"""The files below reports/ against the same files made again from the cells."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bench.cells.files import REPORTS, RESULTS
from bench.protocol.protocol import read_protocol
from bench.report.answer.run_facts import documentation_beside
from bench.report.leaderboard import LEADERBOARD, write_reports
from bench.report.pages.checks_panel import checks_in
from bench.trust.scratch import scratch_project
from bench.trust.verify.check import Check


def check_reports() -> Check:
    """Make every file of the report again elsewhere and compare them byte by byte.

    The leaderboard is made with the checks that it shows. The report is made in this process, which it leaves
    in the folder where it was; on one core, because the others recompute the numbers meanwhile.

    Raises:
        UserError: the report cannot be made.
    """
    check = Check("files of the report, made again")
    stored = REPORTS.resolve()
    checks, documentation = checks_in(LEADERBOARD), documentation_beside(REPORTS)
    with scratch_project() as folder:
        (folder / RESULTS).symlink_to(RESULTS.resolve())
        with contextlib.chdir(folder), _one_worker():
            write_reports(read_protocol(), checks=checks, documentation=documentation)
        made = folder / REPORTS
        for file in sorted(path for path in made.rglob("*") if path.is_file()):
            name = file.relative_to(made)
            check.compare(REPORTS / name, "the same bytes", _comparison(file, stored / name))
    return check


@contextlib.contextmanager
def _one_worker() -> Iterator[None]:
    """Write the pages one after another: a worker process can have no workers of its own."""
    variable = "IMSSL_BENCH_WORKERS"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _comparison(made: Path, stored: Path) -> str:
    if not stored.is_file():
        return "missing"
    return "the same bytes" if made.read_bytes() == stored.read_bytes() else "other bytes; run: bench report"
