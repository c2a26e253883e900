"""What a run costs besides computing its cells: starting, preparing images, DVC's own work, the report."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.cells.files import REPORTS
from bench.perf.groups import dvc_overhead
from bench.perf.phantoms import phantom_set
from bench.perf.timing import Effort, PerfRow, interleaved, per_second, quartiles, seconds_of
from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import Protocol
from imssl.errors import UserError


def measure(effort: Effort, protocol: Protocol, folder: Path) -> Iterator[PerfRow]:
    """The parts of a run of the current protocol that compute no cell."""
    yield from _help(effort)
    yield from _stage_start(effort, folder)
    yield from _preparation(effort, folder)
    yield from _dvc(protocol)
    yield from _report(effort, protocol)


def _run_module(arguments: list[str], folder: Path, **environment: str) -> None:
    search = os.pathsep.join(path for path in sys.path if path)
    subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": search} | environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _help(effort: Effort) -> Iterator[PerfRow]:
    call = partial(_run_module, ["bench", "--help"], Path.cwd())
    seconds = interleaved({"help": call}, effort.rounds)["help"]
    yield PerfRow("start-up", "bench --help", "s", quartiles(seconds), at_most=0.3)


def _stage_start(effort: Effort, folder: Path) -> Iterator[PerfRow]:
    """Starts the stage ``inputs``, which does little: it reads the protocol and fingerprints the code."""
    project = folder / "project"
    project.mkdir()
    shutil.copy(PARAMS, project)
    # A warm-start server of its own, so that the first start is a cold one; it ends by itself.
    with tempfile.TemporaryDirectory(prefix="ib") as sockets:
        call = partial(_run_module, ["bench.stage", "inputs"], project, TMPDIR=sockets)
        cold = seconds_of(call)
        seconds = interleaved({"warm": call}, effort.rounds)["warm"]
    yield PerfRow("start-up", "the first stage of a run", "s", quartiles([cold]))
    yield PerfRow("start-up", "every further stage", "s", quartiles(seconds))


def _preparation(effort: Effort, folder: Path) -> Iterator[PerfRow]:
    made: list[int] = []

    def prepare_once() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as target:
            made.append(len(phantom_set("chest", 60, 32, Path(target)).samples))

    seconds = interleaved({"prepare": prepare_once}, effort.rounds)["prepare"]
    yield PerfRow(
        "preparing", "phantom images, 32 px, drawn and written", "images/s", per_second(seconds, made[0])
    )


def _dvc(protocol: Protocol) -> Iterator[PerfRow]:
    methods, datasets = len(protocol.methods), len(protocol.datasets)
    with tempfile.TemporaryDirectory() as folder:
        stages = dvc_overhead.trivial_project(Path(folder), methods, datasets)
        full, no_op = (dvc_overhead.repro_seconds(folder) for _ in range(2))
    name = f"{methods} methods x {datasets} data sets, {stages} stages"
    yield PerfRow("DVC", f"full repro of trivial stages, {name}", "s", quartiles([full]))
    yield PerfRow("DVC", f"no-op repro, {name}", "s", quartiles([no_op]), at_most=8.0)


def _report(effort: Effort, protocol: Protocol) -> Iterator[PerfRow]:
    from bench.report.leaderboard import write_reports

    if not (REPORTS / "leaderboard.html").is_file():
        note = "left out: there is no finished run in this folder"
        yield PerfRow("report", "leaderboard of the current results", "s", None, note=note)
        return
    with tempfile.TemporaryDirectory() as backup:
        # Measured in the folder where the report belongs, whose content is put back afterwards.
        shutil.copytree(REPORTS, backup, dirs_exist_ok=True)
        try:
            seconds = interleaved({"report": partial(write_reports, protocol)}, min(effort.rounds, 3))
            row = PerfRow("report", "leaderboard of the current results", "s", quartiles(seconds["report"]))
        except UserError as error:
            row = PerfRow(
                "report", "leaderboard of the current results", "s", None, note=f"left out: {error}"
            )
        finally:
            shutil.copytree(backup, REPORTS, dirs_exist_ok=True)
    yield row
