"""All checks of ``bench verify``: checksums first, then what is computed again, on all cores."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from threadpoolctl import threadpool_limits

from bench.cells.files import cell_path
from bench.cells.records import read_record
from bench.machine.workers import DONE, in_this_process, worker_count, workers
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import Protocol
from bench.report.leaderboard import RESULTS_TABLE
from bench.trust.verify.check import Check, OnProgress, by_name
from bench.trust.verify.checksums import check_cells, check_data, check_lock
from bench.trust.verify.numbers import (
    LEFT_OUT,
    NUMBERS,
    Recomputed,
    compare_tables,
    is_restored,
    recompute,
)
from bench.trust.verify.reports import check_reports
from bench.trust.verify.samples import (
    LABEL_SUBSETS,
    PREDICTIONS,
    check_predictions,
    check_subsets,
)
from bench.trust.verify.subgroups import SUBGROUPS, check_subgroups
from bench.trust.verify.versions import check_versions
from imssl.errors import UserError


@dataclass
class Verified:
    """What came out of all checks.

    Attributes:
        checks: in their order.
        numbers: how many were recomputed from predictions and features.
        seconds: that recomputing them took, the report made again included.
    """

    checks: list[Check]
    numbers: int = 0
    seconds: float = 0.0


@dataclass
class Part:
    """What one piece of the work gives: checks, and numbers by their place in results.csv."""

    checks: list[Check] = field(default_factory=list)
    recomputed: Recomputed = field(default_factory=dict)


def cells_with_results(protocol: Protocol) -> list[Cell]:
    """The cells that have a record, of a finished or partial run.

    Raises:
        UserError: there are none, so there is nothing to check.
    """
    cells = [cell for cell in all_cells(protocol) if (cell_path(cell) / "cell.json").is_file()]
    if not cells:
        raise UserError("there are no results to verify. Run: dvc repro")
    return cells


def run_checks(
    protocol: Protocol, with_record: list[Cell], strict_versions: bool, on_progress: OnProgress
) -> Verified:
    """Check a finished or partial run.

    Checksums come first; where one is wrong, numbers are not recomputed from files that are not the ones
    that were written.

    Args:
        protocol: of the run.
        with_record: its cells that have results.
        strict_versions: whether cells of different versions of a library disagree, or are noted only.
        on_progress: called with how far the work is.
    """
    cells = list(all_cells(protocol))
    on_progress("checksums", 0, 1)
    checks = [check_data(protocol), check_cells(protocol, with_record), check_lock()]
    on_progress("checksums", 1, 1)
    if len(with_record) < len(cells):
        checks[1].notes.append(f"{len(cells) - len(with_record)} of {len(cells)} cells have no results yet")
    if any(check.disagreements for check in checks[:2]):
        checks[1].notes.append("numbers were not recomputed, as files are not those that were written")
        return Verified(checks)
    records = {cell: read_record(cell_path(cell)) for cell in with_record}
    checks.append(check_versions([record for record in records.values() if record], strict_versions))
    done = [cell for cell, record in records.items() if record is not None and record.status == "done"]
    if len(done) < len(with_record):
        checks[1].notes.append(f"{len(with_record) - len(done)} cells have failed and have no numbers")
    restored = [cell for cell in done if is_restored(cell)]
    if restored:
        checks[1].notes.append(
            f"{len(restored)} cells were brought back from a study, without encoders and features, and were "
            "not recomputed; check them with: bench verify --study NAME"
        )
    whole = [cell for cell in done if cell not in restored]
    return _computed_again(protocol, whole, checks, on_progress)


def _computed_again(
    protocol: Protocol, done: list[Cell], checks: list[Check], on_progress: OnProgress
) -> Verified:
    began, has_tables = time.monotonic(), RESULTS_TABLE.is_file()
    parts = _on_all_cores(_tasks(protocol, done, has_tables), on_progress)
    recomputed = {place: value for part in parts for place, value in part.recomputed.items()}
    # In the order in which they are shown; what takes longest was begun first.
    empty = [Check(name) for name in (PREDICTIONS, LABEL_SUBSETS, LEFT_OUT, NUMBERS, SUBGROUPS)]
    merged = by_name([*empty, *(check for part in parts for check in part.checks)])
    numbers = merged.pop(NUMBERS)
    checks += [merged.pop(name) for name in (PREDICTIONS, LABEL_SUBSETS, LEFT_OUT)]
    if has_tables:
        checks += [*compare_tables(protocol, recomputed, numbers), *merged.values()]
    else:
        checks[-1].notes.append(f"there is no {RESULTS_TABLE}; write it with: bench report")
        checks += [numbers] if numbers.disagreements else []
    return Verified(checks, len(recomputed), time.monotonic() - began)


def _tasks(protocol: Protocol, done: list[Cell], has_tables: bool) -> list[Callable[[], Part]]:
    """The report first, as it takes longest; then the cells by data set, method and seed."""
    tasks: list[Callable[[], Part]] = []
    if has_tables:
        tasks += [lambda: Part([check_reports()]), lambda: Part([check_subgroups(protocol, done)])]
    for dataset in protocol.datasets:
        of_dataset = [cell for cell in done if cell.dataset == dataset]
        chains: dict[tuple[str, int], list[Cell]] = {}
        for cell in of_dataset:
            chains.setdefault((cell.method, cell.seed), []).append(cell)
        tasks += [partial(_check_chain, protocol, chain) for chain in chains.values()]
        if of_dataset:
            tasks.append(partial(_check_label_sets, protocol, of_dataset))
    return tasks


def _check_chain(protocol: Protocol, cells: list[Cell]) -> Part:
    """The cells of one data set, method and seed."""
    recomputed, checks = recompute(protocol, cells)
    return Part([check_predictions(protocol, cells), *checks], recomputed)


def _check_label_sets(protocol: Protocol, cells: list[Cell]) -> Part:
    return Part([check_subsets(protocol, cells)])


def _on_all_cores(tasks: list[Callable[[], Part]], on_progress: OnProgress) -> list[Part]:
    """The results of the tasks, in their order."""

    def work(job: int, _report: Callable[[object], None]) -> Part:
        with threadpool_limits(1, user_api="blas"):
            return tasks[job]()

    count = worker_count(1, len(tasks))
    results: dict[int, Part] = {}
    with workers(count, work) if count > 1 else in_this_process(work, lambda *_: None) as run:
        for job, kind, message in run(range(len(tasks))):
            if kind == DONE:
                results[job] = message
                on_progress("numbers and report", len(results), len(tasks))
    return [results[job] for job in range(len(tasks))]
