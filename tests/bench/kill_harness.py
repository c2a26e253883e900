"""Kill stages at random moments, let them continue, and compare what they end with.

    python tests/bench/kill_harness.py --points 50 --seed 0

A stage runs in a forked process group of its own and is killed (SIGKILL), in turn: at a random time, with
two workers; or just before a random one of its operations on files, with one. Some checkpoints are torn after
the kill, as a power cut may do. Then nothing may lie half-written under a final name, the stage must continue
where it was, and its files must be byte for byte those of a run that nobody disturbed.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import imssl.finetune
import imssl.pretrain
from bench.cells.files import CELL_FILE, PROVENANCE_FILE
from bench.cells.records import read_record
from bench.cells.store import file_checksums
from bench.launch.run_stage import run_stage
from imssl.datasets.prepared import CARD_FILE, read_prepared

STAGES = (("data", "fundus"), ("pretrain", "fundus", "moco-barlow"), ("finetune", "fundus", "moco-barlow"))
OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "shutil.copyfile"}
# Steps that may be taken twice: one of each worker, two more where its last checkpoint is torn.
LOST_STEPS, LOST_BY_TEARING = 2, 4


@dataclass(frozen=True)
class Moment:
    """When to kill: after seconds, or before the n-th operation on a file; neither is a run to its end."""

    seconds: float | None = None
    operation: int | None = None

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"after {self.seconds:.3f} s"
        return f"before operation {self.operation}"


TO_THE_END = Moment()


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit status (-9: killed), seconds, what it printed, operations and steps."""

    status: int
    seconds: float
    printed: str
    operations: int
    steps: int


def run(folder: Path, stage: tuple[str, ...], moment: Moment, workers: int) -> Ended:
    """Run a stage in a process group of its own, up to a moment."""
    counts = Path(tempfile.mkdtemp(prefix="counts-", dir=folder.parent))
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_the_stage(folder, stage, moment, workers, counts)
    if moment.seconds is not None:
        time.sleep(moment.seconds)
        os.killpg(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended = Ended(
        status,
        time.monotonic() - started,
        (counts / "printed").read_text() if (counts / "printed").exists() else "",
        _size(counts / "operations"),
        _size(counts / "steps"),
    )
    shutil.rmtree(counts)
    return ended


def _be_the_stage(folder: Path, stage: tuple[str, ...], moment: Moment, workers: int, counts: Path) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ["IMSSL_BENCH_WORKERS"] = str(workers)
    output = os.open(counts / "printed", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # One byte each, written past Python's buffers: these files are read after a SIGKILL.
    operations = os.open(counts / "operations", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    steps = os.open(counts / "steps", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    imssl.pretrain.CHECKPOINT_SECONDS = 0.0
    imssl.finetune.CHECKPOINT_SECONDS = 0.0
    _count_steps(steps)
    done = 0

    def before_operation(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        if event in OPERATIONS and _writes_in(folder, event, arguments):
            done += 1
            if done == moment.operation:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(operations, b".")

    sys.addaudithook(before_operation)
    os._exit(run_stage(list(stage)))


def _count_steps(file: int) -> None:
    take_step = imssl.pretrain.Training.take_step

    def counted(*arguments: object) -> None:
        os.write(file, b".")
        take_step(*arguments)  # type: ignore[arg-type]

    imssl.pretrain.Training.take_step = counted  # type: ignore[method-assign]


def _writes_in(folder: Path, event: str, arguments: tuple[object, ...]) -> bool:
    if event == "open" and not int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):  # type: ignore[call-overload]
        return False
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    return Path(os.fsdecode(path)).resolve().is_relative_to(folder)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of data and results but the provenance, which holds all that a clock decides."""
    found = {}
    for file in sorted([*(folder / "data").rglob("*"), *(folder / "results").rglob("*")]):
        if file.is_file() and file.name != PROVENANCE_FILE:
            found[file.relative_to(folder).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def half_written(folder: Path) -> list[str]:
    """What lies under a final name and is not whole."""
    wrong = []
    for data in (folder / "data").glob("*"):
        if (data / CARD_FILE).exists():
            read_prepared(data)
    cells = [*(folder / ".bench" / "cells").glob("*/*"), *(folder / "results").rglob("seed-*")]
    for cell in cells:
        parts = cell.relative_to(folder).parts
        if any(part.endswith(".partial") for part in parts) or {"curves", "provenance"} & set(parts):
            continue
        for part in [cell] if (cell / CELL_FILE).exists() else cell.glob("fraction-*[!l]"):
            record = read_record(part)
            if record is None or record.files != file_checksums(part):
                wrong.append(str(part.relative_to(folder)))
        if not (cell / CELL_FILE).exists() and not list(cell.glob("fraction-*")) and list(cell.iterdir()):
            wrong.append(str(cell.relative_to(folder)))
    return wrong


def tear_a_checkpoint(folder: Path, draw: random.Random) -> bool:
    """Cut the newest checkpoint of a run short, or turn a bit of it; False where there is none."""
    files = sorted((folder / ".bench" / "checkpoints").glob("*/checkpoint.pt"))
    if not files:
        return False
    content = bytearray(files[0].read_bytes())
    place = draw.randrange(len(content))
    if draw.random() < 0.5:
        del content[place:]
    else:
        content[place] ^= 1 << draw.randrange(8)
    files[0].write_bytes(content)
    return True


class Harness:
    """A project, as it was before each stage, and what an undisturbed run of each leaves."""

    def __init__(self, work: Path, params: str) -> None:
        self.work = work
        project = work / "undisturbed"
        project.mkdir()
        (project / "params.yaml").write_text(params)
        self.undisturbed: dict[tuple[str, ...], tuple[Ended, dict[str, str]]] = {}
        for stage in STAGES:
            shutil.copytree(project, self._before(stage))
            ended = run(project, stage, TO_THE_END, workers=1)
            assert ended.status == 0, ended.printed
            self.undisturbed[stage] = (ended, digests(project))

    def _before(self, stage: tuple[str, ...]) -> Path:
        return self.work / f"before-{stage[0]}"

    def point(self, number: int, draw: random.Random) -> str | None:
        """Kill one stage, let it continue; what went wrong, None if nothing did."""
        stage = STAGES[number % len(STAGES)]
        whole, expected = self.undisturbed[stage]
        by_time = number // len(STAGES) % 2 == 0
        if by_time:
            moment = Moment(seconds=draw.uniform(0, whole.seconds))
        else:
            moment = Moment(operation=draw.randint(1, whole.operations))
        folder = self.work / f"point-{number}"
        shutil.copytree(self._before(stage), folder)
        killed = run(folder, stage, moment, workers=2 if by_time else 1)
        half = half_written(folder)
        torn = draw.random() < 0.4 and tear_a_checkpoint(folder, draw)
        after = run(folder, stage, TO_THE_END, workers=2)
        found = digests(folder)
        left = [path.name for top in ("data", "results") for path in (folder / top).rglob("*.partial")]
        lost = killed.steps + after.steps - whole.steps
        print(f"{number}: {' '.join(stage)} {moment}{', checkpoint torn' if torn else ''}: "
              f"status {killed.status}, {lost} steps lost", flush=True)  # fmt: skip
        shutil.rmtree(folder)
        if killed.status not in (-signal.SIGKILL, 0):
            return f"ended with {killed.status} before the kill: {killed.printed}"
        if half:
            return f"half-written: {half}"
        if after.status != 0:
            return f"did not continue: {after.printed}"
        if found != expected:
            wrong = sorted(name for name, _ in found.items() ^ expected.items())
            return f"other files than an undisturbed run: {wrong}"
        if lost > LOST_STEPS + LOST_BY_TEARING * torn:
            return f"{lost} steps were taken twice"
        return f"left behind: {left}" if left else None


def main() -> int:
    """Run the points; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    params = (Path(__file__).parent / "tiny.yaml").read_text().replace("seeds: [0]", "seeds: [0, 1]")
    failures = []
    with tempfile.TemporaryDirectory(prefix="kill-") as work:
        harness = Harness(Path(work), params)
        for number in range(arguments.points):
            wrong = harness.point(number, random.Random(f"{arguments.seed} {number}"))
            if wrong:
                failures.append(number)
                print(f"FAILED: seed {arguments.seed}, point {number}: {wrong}", flush=True)
    print(f"{arguments.points - len(failures)} of {arguments.points} kills ended as an undisturbed run")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
