"""Check a method file in a process of its own, which may hang, crash or eat memory without harm here."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import bench
from bench.cells.records import package_versions
from bench.conformance.check import CheckReport, RuleOutcome
from bench.conformance.child import Request
from bench.conformance.source import MethodSource
from imssl.errors import UserError

# Importing torch, on a slow disk; then the file itself; then each rule.
START_SECONDS = 180.0
LOAD_SECONDS = 20.0
RULE_SECONDS = 180.0
# Of resident memory. A check needs less than one GiB.
MEMORY_MIB = 8192
# How often memory and time are looked at.
GLANCE_SECONDS = 0.1
# Of what a child printed before it crashed.
LAST_OUTPUT = 2000


@dataclass
class Told:
    """What a child has told so far.

    Attributes:
        doing: what it said last that it begins.
        method: name of the class, once loaded.
        settings: by row, once loaded.
        checks: that have ended.
        ratios: once done.
        done: whether it came to its end.
    """

    doing: str = "start"
    method: str = ""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: list[RuleOutcome] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    done: bool = False

    def hear(self, message: dict[str, Any]) -> None:
        """Take in one message.

        Raises:
            UserError: the file was refused.
        """
        if "refused" in message:
            raise UserError(message["refused"])
        self.doing = message.get("doing", self.doing)
        if "loaded" in message:
            self.method, self.settings = message["loaded"], message["settings"]
        if "check" in message:
            self.checks.append(RuleOutcome(**message["check"]))
        if "done" in message:
            self.ratios, self.done = message["done"], True

    @property
    def limit(self) -> float:
        """Seconds that what it does may take."""
        return {"start": START_SECONDS, "load": LOAD_SECONDS}.get(self.doing, RULE_SECONDS)


@dataclass(frozen=True)
class Child:
    """A running child.

    Attributes:
        pid: its process, which leads a process group of its own.
        messages: where its lines are read.
        output: what it prints, standard output and error.
    """

    pid: int
    messages: int
    output: IO[bytes]


def check_method(source: MethodSource, request: Request) -> CheckReport:
    """Load a method file and try every rule on it, in a child process.

    Raises:
        UserError: the file cannot be loaded, its settings are refused, or it hung or crashed.
    """
    told = Told()
    with started(request, source.content) as child:
        for message in _messages(child, told, source):
            told.hear(message)
        if not told.done:
            raise UserError(_ended(child, told, source))
    return CheckReport(
        file=str(source.path),
        sha256=source.sha256,
        method=told.method,
        settings=told.settings,
        checks=tuple(told.checks),
        speed_ratio=told.ratios.get("speed"),
        memory_ratio=told.ratios.get("memory"),
        versions=package_versions(),
    )


@contextlib.contextmanager
def started(request: Request, content: bytes) -> Iterator[Child]:
    """A child at work on a request, in an empty folder; it and all it started are killed at the end."""
    reading, writing = os.pipe()
    path = os.pathsep.join([str(Path(bench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="imssl-check-") as folder, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.conformance.child", str(writing)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,  # Ctrl-C reaches the parent only, which then ends the child
        )
        try:
            os.close(writing)
            text = request.as_json().encode()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(len(text).to_bytes(8) + text + content)
            yield Child(process.pid, reading, output)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(reading)


def _messages(child: Child, told: Told, source: MethodSource) -> Iterator[dict[str, Any]]:
    """The child's messages until it closes the channel.

    Raises:
        UserError: it took more time or memory than it may.
    """
    waiting, doing, since = b"", told.doing, time.monotonic()
    while True:
        ready, _, _ = select.select([child.messages], [], [], GLANCE_SECONDS)
        if ready:
            received = os.read(child.messages, 65536)
            if not received:
                return
            *lines, waiting = (waiting + received).split(b"\n")
            for line in lines:
                try:
                    yield json.loads(line)
                except ValueError:
                    raise UserError(
                        f"{source.path}: {_phase(doing)} writes to a file descriptor that is not its own."
                    ) from None
        if told.doing != doing:
            doing, since = told.doing, time.monotonic()
        if time.monotonic() - since > told.limit:
            raise UserError(f"{source.path}: {_phase(doing)} did not end within {told.limit:.0f} seconds.")
        if resident_mib(child.pid) > MEMORY_MIB:
            raise UserError(f"{source.path}: {_phase(doing)} took more than {MEMORY_MIB:,} MiB of memory.")


def resident_mib(pid: int) -> float:
    """Resident memory of a process; 0 where the system does not tell or the process has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _ended(child: Child, told: Told, source: MethodSource) -> str:
    child.output.seek(0, os.SEEK_END)
    child.output.seek(max(0, child.output.tell() - LAST_OUTPUT))
    said = child.output.read().decode("utf-8", errors="replace").strip()
    shown = f" It last printed:\n{said}" if said else ""
    return f"{source.path}: {_phase(told.doing)} ended the process.{shown}"


def _phase(doing: str) -> str:
    if doing == "start":
        return "starting the checks"
    return "loading the file" if doing == "load" else f"the check “{doing}”"
