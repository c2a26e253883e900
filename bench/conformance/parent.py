"""Checks a method file in a child process, which may hang, crash or use up memory without harm here."""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import bench
from bench.cells.records import package_versions
from bench.conformance.child import Request
from bench.conformance.method_source import MethodSource
from bench.conformance.rule import CheckReport, RuleOutcome
from bench.machine.system import resident_mib
from bench.protocol.source_files.places import PROJECT_VARIABLE, project
from imssl.errors import UserError

# Time allowed for importing torch (from a slow disk), for loading the method file, and for each rule.
START_SECONDS = 180.0
LOAD_SECONDS = 20.0
RULE_SECONDS = 180.0
# Resident memory allowed; the checks of a usual method need less than one GiB.
MEMORY_MIB = 8192
# How often time and memory are looked at.
POLL_SECONDS = 0.1
# How much of what a child printed before it crashed is shown, in bytes.
LAST_OUTPUT_BYTES = 2000


@dataclass
class ChildReport:
    """What a child has reported so far.

    Attributes:
        doing: what it began last.
        method: name of the class, once loaded.
        settings: hyper-parameters by row, once loaded.
        checks: outcomes of the rules that have been checked.
        ratios: speed and memory relative to the reference, once done.
        done: whether it reached its end.
    """

    doing: str = "start"
    method: str = ""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: list[RuleOutcome] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    done: bool = False

    def add(self, message: dict[str, Any]) -> None:
        """Add one message.

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
        """Seconds that what the child is doing may take."""
        return {"start": START_SECONDS, "load": LOAD_SECONDS}.get(self.doing, RULE_SECONDS)


@dataclass(frozen=True)
class Child:
    """A running child.

    Attributes:
        pid: its process, which leads a process group of its own.
        messages: file descriptor from which its messages are read.
        output: file that takes its standard output and standard error.
    """

    pid: int
    messages: int
    output: IO[bytes]


def check_in_child(source: MethodSource, request: Request) -> CheckReport:
    """Load a method file and check it against every rule, in a child process.

    Raises:
        UserError: the file cannot be loaded, its settings are refused, or it hung or crashed.
    """
    report = ChildReport()
    request = replace(request, nonce=secrets.token_hex(16))
    with started(request, source.content) as child:
        for message in _messages(child, report, source, request.nonce):
            report.add(message)
        if not report.done:
            raise UserError(_how_it_ended(child, report, source))
    return CheckReport(
        file=str(source.path),
        sha256=source.sha256,
        method=report.method,
        settings=report.settings,
        checks=tuple(report.checks),
        speed_ratio=report.ratios.get("speed"),
        memory_ratio=report.ratios.get("memory"),
        versions=package_versions(),
    )


@contextlib.contextmanager
def started(request: Request, content: bytes) -> Iterator[Child]:
    """A child that carries out a request in an empty folder; at the end it and all it started are killed."""
    reading, writing = os.pipe()
    path = os.pathsep.join([str(Path(bench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    environment[PROJECT_VARIABLE] = str(project())
    with tempfile.TemporaryDirectory(prefix="imssl-") as folder, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.conformance.child", str(writing)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,  # Ctrl-C then reaches the parent only, which ends the child
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


def _messages(
    child: Child, report: ChildReport, source: MethodSource, nonce: str
) -> Iterator[dict[str, Any]]:
    """The child's messages until it closes the channel; each must be added to the report when it is received.

    Raises:
        UserError: the child took more time or memory than it may.
    """
    unread, doing, since = b"", report.doing, time.monotonic()
    while True:
        ready, _, _ = select.select([child.messages], [], [], POLL_SECONDS)
        if ready:
            received = os.read(child.messages, 65536)
            if not received:
                return
            *lines, unread = (unread + received).split(b"\n")
            for line in lines:
                try:
                    message = json.loads(line)
                    if message.pop("nonce") != nonce:
                        raise ValueError
                except (ValueError, KeyError, AttributeError, TypeError):
                    raise UserError(
                        f"{source.path}: {_phase(doing)} writes to a file descriptor that is not its own."
                    ) from None
                yield message
        if report.doing != doing:
            doing, since = report.doing, time.monotonic()
        if time.monotonic() - since > report.limit:
            raise UserError(f"{source.path}: {_phase(doing)} did not end within {report.limit:.0f} seconds.")
        if resident_mib(child.pid) > MEMORY_MIB:
            raise UserError(f"{source.path}: {_phase(doing)} took more than {MEMORY_MIB:,} MiB of memory.")


def _how_it_ended(child: Child, report: ChildReport, source: MethodSource) -> str:
    child.output.seek(0, os.SEEK_END)
    child.output.seek(max(0, child.output.tell() - LAST_OUTPUT_BYTES))
    printed = child.output.read().decode("utf-8", errors="replace").strip()
    last_words = f" It last printed:\n{printed}" if printed else ""
    return f"{source.path}: {_phase(report.doing)} ended the process.{last_words}"


def _phase(doing: str) -> str:
    if doing == "start":
        return "starting the checks"
    return "loading the file" if doing == "load" else f"the check “{doing}”"
