"""The files below reports/ against the same files made again from the cells."""

from pathlib import Path

from bench.cells.files import REPORTS, RESULTS
from bench.trust.scratch import run_python, scratch_project
from bench.trust.verify.check import Check
from imssl.errors import UserError


def check_reports() -> Check:
    """Make every file of the report again elsewhere and compare them byte by byte.

    Raises:
        UserError: the report cannot be made.
    """
    check = Check("files of the report, made again")
    with scratch_project() as folder:
        (folder / RESULTS).symlink_to(RESULTS.resolve())
        ended = run_python(folder, ["-m", "bench", "report"])
        if ended.returncode != 0:
            raise UserError(f"the report cannot be made again:\n{ended.stderr.strip()}")
        made = folder / REPORTS
        for file in sorted(path for path in made.rglob("*") if path.is_file()):
            name = file.relative_to(made)
            check.compare(REPORTS / name, "the same bytes", _comparison(file, REPORTS / name))
    return check


def _comparison(made: Path, stored: Path) -> str:
    if not stored.is_file():
        return "missing"
    return "the same bytes" if made.read_bytes() == stored.read_bytes() else "other bytes; run: bench report"
