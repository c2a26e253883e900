"""Run a submission's code, once a person has read it and says so: its checks, and some cells again.

It runs in a copy of the suite, so that this checkout stays as it is, but with the rights of whoever calls it.
That it may be run is decided before, by nobody but the caller.
"""

import json
import shutil
import subprocess
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

import bench
from bench.cells.files import cell_path
from bench.cells.records import read_record
from bench.protocol.cell import Cell
from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import hyperparameters, values
from bench.sharing.review import Unpacked
from bench.sharing.submission import METHOD_FILE
from bench.trust.compared_files import compared_file
from bench.trust.scratch import run_python
from bench.trust.verify.check import Check
from bench.trust.verify.rerun import made_elsewhere, other_seed
from imssl.errors import UserError, printable

LONGEST_FINDING = 500
# Prints, as the last line, where the cell lies; what it builds on is computed first.
COMPUTE = """
import sys
from bench.protocol.source_files.at_start import sources_at_start
sources_at_start()
from bench.cells.keys import Keys
from bench.cells.store import cell_folder
from bench.launch.compute import compute_cell
from bench.protocol.cell import all_cells, built_on
from bench.protocol.protocol import read_protocol
protocol = read_protocol()
keys = Keys(protocol)
(cell,) = [cell for cell in all_cells(protocol) if cell.title == sys.argv[1]]
def compute(cell):
    for earlier in built_on(cell, protocol):
        compute(earlier)
    compute_cell(cell, keys, lambda done, total: None)
compute(cell)
print(cell_folder(cell, keys.key(cell)))
"""


@dataclass(frozen=True)
class ScratchSuite:
    """A scratch project in which the submitted method is one of the suite.

    Attributes:
        unpacked: the submission.
        is_new: whether its file is another one than this checkout has, or has under that name.
    """

    unpacked: Unpacked
    is_new: bool

    def python(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """Run Python in the project, with its copy of the suite and a store of its own."""
        return run_python(self.unpacked.project, arguments, suite=self.unpacked.project)


def scratch_suite(unpacked: Unpacked) -> ScratchSuite:
    """Put the submitted file into a copy of the suite, and its row into the scratch params.yaml.

    Raises:
        UserError: this checkout has another file of that name in which the suite's own method is.
    """
    submission, project = unpacked.submission, unpacked.project
    suite = Path(bench.__file__).parents[1]
    for package in ("bench", "imssl"):
        shutil.copytree(suite / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
    target, sent = project / "imssl" / "methods" / submission.method_file, unpacked.folder / METHOD_FILE
    is_new = not target.is_file() or target.read_bytes() != sent.read_bytes()
    if is_new and target.is_file():
        raise UserError(
            f"imssl/methods/{submission.method_file} is here already, and is another file; other methods may "
            "rest on it, so the submitted one was not run. It should be given another name."
        )
    shutil.copy(sent, target)
    content = values(unpacked.protocol)
    for dataset, row in submission.row_on_datasets.items():
        if dataset in content["datasets"]:
            content["datasets"][dataset].setdefault("methods", {})[submission.method] = row
    with (project / PARAMS).open("w", encoding="utf-8") as stream:
        YAML().dump(_plain(content), stream)
    return ScratchSuite(unpacked, is_new)


def check_conformance(suite: ScratchSuite) -> Check:
    """Run `bench check-method` on the submitted file."""
    check = Check("checks of the method's file")
    if not suite.is_new:
        check.notes.append("the file is the one that this checkout has")
        return check
    row = hyperparameters(suite.unpacked.submission.row)
    settings = [f"--set={name}={json.dumps(value)}" for name, value in row.items()]
    file = f"imssl/methods/{suite.unpacked.submission.method_file}"
    ended = suite.python(["-m", "bench", "check-method", "--json", *settings, file])
    try:
        report = json.loads(ended.stdout)
        failed = [rule["name"] for rule in report.get("checks", []) if rule["status"] == "fail"]
        check.compare(file, True, report["passed"] or ", ".join(failed) or report.get("error", False))
    except (ValueError, KeyError, TypeError):
        check.compare(file, "a report of its checks", printable(ended.stderr[-LONGEST_FINDING:]))
    return check


def rerun(suite: ScratchSuite, count: int, seed: int) -> Check:
    """Compute some cells again, drawn at random, and compare them with those of the submission.

    Args:
        suite: the scratch project.
        count: how many cells; what they build on is computed too.
        seed: of the draw.
    """
    check, unpacked = Check("cells computed again"), suite.unpacked
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(unpacked.cells), min(count, len(unpacked.cells)), replace=False)
    for i in sorted(chosen):
        cell = unpacked.cells[i]
        ended = suite.python(["-c", COMPUTE, cell.title])
        if ended.returncode != 0:
            check.compare(cell.title, "a computed cell", printable(ended.stderr.strip()[-LONGEST_FINDING:]))
            continue
        compare_again(check, unpacked, cell, unpacked.project / ended.stdout.strip().splitlines()[-1])
    return check


def compare_again(check: Check, unpacked: Unpacked, cell: Cell, made: Path) -> None:
    """Compare a submitted cell with the folder of the same cell made again.

    Whatever a stranger's file does to a reader is a finding, and the other cells are still compared.
    """
    with chdir(unpacked.folder):
        try:
            _compare(check, unpacked, cell, made)
        except Exception as error:
            said = printable(f"{type(error).__name__}: {error}")[:LONGEST_FINDING]
            check.compare(cell.title, "files as bench writes them", said)


def _compare(check: Check, unpacked: Unpacked, cell: Cell, made: Path) -> None:
    sent, now = unpacked.record(cell), read_record(made)
    if sent is None or now is None:
        check.compare(cell.title, "a finished cell", "none")
        return
    if sent.key != now.key:
        check.compare(f"key of {cell.title}", now.key, sent.key)
        return
    elsewhere = made_elsewhere(cell, sent, now.provenance)
    other = other_seed(cell, unpacked.protocol)
    for name, sha in sent.files.items():
        if now.files.get(name) == sha or not (cell_path(cell) / name).is_file():
            is_right, difference = now.files.get(name) == sha or bool(elsewhere), "other bytes"
        else:
            compared = compared_file(name, cell_path(cell) / name, made / name, other)
            is_right = compared.equal or (bool(elsewhere) and compared.within_seeds)
            difference = f"off by {compared.difference}"
        check.compare(f"{cell.title}: {name}", True, is_right or difference)
    if elsewhere:
        check.notes.append(f"{cell.title} was made elsewhere: {printable('; '.join(elsewhere))}")


def _plain(content: object) -> object:
    """Without values that are None by default: params.yaml leaves them out."""
    if isinstance(content, dict):
        return {name: _plain(value) for name, value in content.items() if value is not None}
    return content
