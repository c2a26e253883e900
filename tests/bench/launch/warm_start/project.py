"""A project with a warm start, in which a stage runs the code that it is given."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# A stage that runs the code it is given, instead of training something.
RUN_STAGE = """
def run_stage(arguments):
    scope = {}
    try:
        exec(arguments[0], scope)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        return 130
    return scope.get("status", 0)
"""


@dataclass
class Project:
    """A project with a warm start of its own: a server of its own that imports nothing heavy."""

    folder: Path
    temporary: Path
    servers: set[int] = field(default_factory=set)

    def start(self, code: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "bench.stage", code],
            cwd=cwd or self.folder,
            env=os.environ | {"TMPDIR": str(self.temporary), "PYTHONPATH": str(self.folder)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, code: str, stdin: str = "", **environment: str) -> tuple[int, str]:
        process = self.start(code, **environment)
        output, _ = process.communicate(stdin, timeout=600)
        return process.returncode, output

    def server(self) -> int:
        """The process that forks the stages; it is started if there is none."""
        status, output = self.run("import os; print(os.getppid())")
        assert status == 0, output
        self.servers.add(int(output))
        return int(output)

    def address(self) -> Path:
        (address,) = self.temporary.glob("*/*.sock")
        return address


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
