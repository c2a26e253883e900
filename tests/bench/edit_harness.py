"""Save edits at random moments of a run, kill DVC while it writes, and compare what the next run ends with.

    python tests/bench/edit_harness.py --points 20 --kills 20 --seed 0

Each point runs `bench repro` or `dvc repro` in a copy of a small project, and saves an edit of params.yaml or
of a source file. Then the same command must end right, after at most one message that says what to do; the
results must be byte for byte those of a run that knew the edit from the beginning.

Each kill is a SIGKILL of `dvc repro` just before a random one of its own writes, or between the moment at
which a file of its own is emptied and the one at which it is filled. Then `bench repro` must end right.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.kill_harness import digests
from tests.project_copy import copy_packages, copy_pipeline, tiny_without

EDITS = {
    "params.yaml, pretraining": ("params.yaml", "learning_rate: 0.03", "learning_rate: 0.02"),
    "params.yaml, fine-tuning": ("params.yaml", "finetune:\n  epochs: 1", "finetune:\n  epochs: 2"),
    "params.yaml, neighbours": ("params.yaml", "neighbours: 5", "neighbours: 4"),
    "params.yaml, data": ("params.yaml", "seed: 1\n    size: 16", "seed: 3\n    size: 16"),
    "a loss": (
        "imssl/losses.py",
        "torch.cat([similar, query @ negatives.T], dim=1) / temperature",
        "torch.cat([similar, query @ negatives.T], dim=1) / (temperature * 1.5)",
    ),
    "a docstring": ("imssl/knn.py", '"""', '"""Edited. '),
}
COMMANDS = {"bench": ("-m", "bench", "repro"), "dvc": ("-m", "dvc", "repro")}
# DVC with a hook that counts its writes to its own files, and kills the process group at the n-th.
KILLED_DVC = """
import os, signal, sys
from pathlib import Path
from dvc.cli import main

project, moment, count = Path.cwd(), int(sys.argv[1]), 0
own = (project / ".dvc", project / "dvc.lock", project / ".gitignore")

def before(event, arguments):
    global count
    if event not in ("open", "os.rename", "os.remove", "os.link", "os.mkdir", "sqlite3.connect"):
        return
    flags = arguments[2] or 0 if event == "open" else os.O_WRONLY
    if not flags & (os.O_WRONLY | os.O_RDWR) or not isinstance(arguments[0], (str, bytes, os.PathLike)):
        return
    path = project / os.fsdecode(arguments[0])
    if not any(path == file or path.is_relative_to(file) for file in own):
        return
    count += 1
    if count == moment:
        if flags & os.O_TRUNC:
            path.write_bytes(b"")
        print(f"killed at {event} of {path.relative_to(project)}", flush=True)
        os.killpg(0, signal.SIGKILL)

sys.addaudithook(before)
status = main(["repro"])
print(f"{count} writes", flush=True)
sys.exit(status)
"""
KILLED_EDIT = "params.yaml, neighbours"


def params() -> str:
    """The tiny protocol with one data set and two methods."""
    return tiny_without("fundus", "moco-barlow")


def make_project(folder: Path) -> None:
    """A project with DVC and git, and nothing computed."""
    folder.mkdir()
    copy_packages(folder)
    copy_pipeline(folder)
    (folder / "params.yaml").write_text(params())
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)


def start(folder: Path, command: tuple[str, ...]) -> subprocess.Popen[str]:
    """Start a command in the project, in a process group of its own."""
    temporary = folder.parent / "t"
    temporary.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "PYTHONPATH": str(folder), "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, command: tuple[str, ...]) -> tuple[int, str]:
    """Run a command to its end: exit status, and what it printed."""
    process = start(folder, command)
    printed, _ = process.communicate()
    return process.returncode, printed


def edit(folder: Path, name: str) -> None:
    """Save an edit, as an editor does: all at once."""
    file, old, new = EDITS[name]
    text = (folder / file).read_text()
    assert old in text, name
    partial = folder / "edit.partial"
    partial.write_text(text.replace(old, new, 1))
    partial.replace(folder / file)


class Harness:
    """A project before its first run, and what undisturbed runs under each edit end with."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.project = work / "project"
        make_project(self.project)
        self.expected: dict[str, dict[str, str]] = {}
        self.seconds = 0.0
        self.writes = 0

    def undisturbed(self, name: str) -> dict[str, str]:
        """Digests of a run under an edit; of the first one also the time is taken."""
        if name not in self.expected:
            folder = self.work / "undisturbed"
            shutil.copytree(self.project, folder)
            edit(folder, name)
            started = time.monotonic()
            status, printed = run(folder, COMMANDS["bench"])
            assert status == 0, printed
            self.seconds = self.seconds or time.monotonic() - started
            self.expected[name] = digests(folder)
            shutil.rmtree(folder)
        return self.expected[name]

    def point(self, number: int, draw: random.Random) -> str | None:
        """Edit at a random moment; what went wrong, None if nothing did."""
        name = draw.choice(list(EDITS))
        command = COMMANDS[draw.choice(list(COMMANDS))]
        expected = self.undisturbed(name)
        folder = self.work / f"point-{number}"
        shutil.copytree(self.project, folder)
        moment = draw.uniform(0, self.seconds)
        process = start(folder, command)
        time.sleep(moment)
        ended_before = process.poll() is not None
        edit(folder, name)
        first = process.communicate()[0]
        tries = [run(folder, command)]
        if tries[0][0] != 0 and "dvc repro" in tries[0][1]:
            tries.append(run(folder, command))
        ended = digests(folder)
        statuses = [status for status, _ in tries]
        when = f"after {moment:.1f} s{', the end' if ended_before else ''}"
        print(f"{number}: {' '.join(command[1:])}, {name} {when}: {statuses}", flush=True)
        if tries[-1][0] != 0:
            return f"did not end well: {first[-1000:]}\n{[printed[-1500:] for _, printed in tries]}"
        shutil.rmtree(folder)
        return differing(ended, expected)

    def finished(self) -> Path:
        """A project that has run to its end, in which DVC has an edit's stages to run."""
        folder = self.work / "finished"
        if not folder.exists():
            shutil.copytree(self.project, folder)
            status, printed = run(folder, COMMANDS["bench"])
            assert status == 0, printed
            edit(folder, KILLED_EDIT)
        return folder

    def kill(self, number: int, draw: random.Random) -> str | None:
        """Kill DVC at one of its writes; what went wrong, None if nothing did."""
        if not self.writes:
            folder = self.work / "counted"
            shutil.copytree(self.finished(), folder, symlinks=True)
            status, printed = run(folder, ("-c", KILLED_DVC, "0"))
            assert status == 0, printed
            self.writes = int(printed.splitlines()[-1].removesuffix(" writes"))
            self.expected[KILLED_EDIT] = digests(folder)
            shutil.rmtree(folder)
        moment = draw.randint(1, self.writes)
        folder = self.work / f"kill-{number}"
        shutil.copytree(self.finished(), folder, symlinks=True)
        status, killed = run(folder, ("-c", KILLED_DVC, str(moment)))
        after, printed = run(folder, COMMANDS["bench"])
        ended = digests(folder)
        where = killed.splitlines()[-1] if status == -signal.SIGKILL else f"ended with {status}"
        print(f"kill {number}: write {moment} of {self.writes}, {where}: [{after}]", flush=True)
        if after != 0:
            return f"did not end well: {printed[-1500:]}"
        shutil.rmtree(folder)
        return differing(ended, self.expected[KILLED_EDIT])


def differing(ended: dict[str, str], expected: dict[str, str]) -> str | None:
    """The files that are not those of an undisturbed run; None if all are."""
    wrong = sorted({file for file, _ in ended.items() ^ expected.items()})
    return f"other files than an undisturbed run: {wrong[:10]}" if wrong else None


def main() -> int:
    """Run the points; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20, help="edits")
    parser.add_argument("--kills", type=int, default=20, help="kills of DVC while it writes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failures = 0
    # Brackets, which a markup would take for its own.
    with tempfile.TemporaryDirectory(prefix="edit [b]", dir="/tmp") as work:
        harness = Harness(Path(work))
        for kind, disturb, count in (
            ("edits", harness.point, arguments.points),
            ("kills", harness.kill, arguments.kills),
        ):
            passed = 0
            for number in range(count):
                wrong = disturb(number, random.Random(f"{arguments.seed} {kind} {number}"))
                passed += wrong is None
                if wrong:
                    print(f"FAILED: seed {arguments.seed}, {kind} {number}: {wrong}", flush=True)
            if count:
                print(f"{passed} of {count} {kind} ended as an undisturbed run", flush=True)
            failures += count - passed
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
