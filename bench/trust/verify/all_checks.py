"""All checks of ``bench verify`` in their order."""

from bench.cells.files import cell_path
from bench.cells.records import read_record
from bench.protocol.cell import all_cells
from bench.protocol.protocol import Protocol
from bench.report.leaderboard import RESULTS_TABLE
from bench.trust.verify.check import Check
from bench.trust.verify.checksums import check_cells, check_data, check_lock
from bench.trust.verify.numbers import check_numbers
from bench.trust.verify.reports import check_reports
from bench.trust.verify.samples import check_predictions, check_subsets
from imssl.errors import UserError


def run_checks(protocol: Protocol) -> list[Check]:
    """Check a finished or partial run.

    Checksums come first; where one is wrong, numbers are not recomputed from files that are not the ones
    that were written.

    Raises:
        UserError: there are no results to check.
    """
    cells = list(all_cells(protocol))
    with_record = [cell for cell in cells if (cell_path(cell) / "cell.json").is_file()]
    if not with_record:
        raise UserError("there are no results to verify. Run: dvc repro")
    checks = [check_data(protocol), check_cells(protocol, with_record), check_lock()]
    if len(with_record) < len(cells):
        checks[1].notes.append(f"{len(cells) - len(with_record)} of {len(cells)} cells have no results yet")
    if any(check.disagreements for check in checks[:2]):
        checks[1].notes.append("numbers were not recomputed, as files are not those that were written")
        return checks
    records = {cell: read_record(cell_path(cell)) for cell in with_record}
    done = [cell for cell, record in records.items() if record is not None and record.status == "done"]
    if len(done) < len(with_record):
        checks[1].notes.append(f"{len(with_record) - len(done)} cells have failed and have no numbers")
    checks += [check_predictions(protocol, done), check_subsets(protocol, done)]
    if not RESULTS_TABLE.is_file():
        checks[-1].notes.append(f"there is no {RESULTS_TABLE}; write it with: bench report")
        return checks
    return [*checks, *check_numbers(protocol, done), check_reports()]
