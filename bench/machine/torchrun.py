"""Several processes for one cell: torchrun starts them, and they report their progress through files.

Files and not a pipe, as the processes may be on several nodes that share nothing else.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.machine.system import can_fork, end_with_parent
from bench.machine.workers import at_intervals
from imssl.durable import write_text, write_unsynced
from imssl.errors import Diverged, Stopped, UserError

# The command that starts the processes where a cluster has its own, such as srun with torchrun behind it.
COMMAND = "IMSSL_BENCH_TORCHRUN"
LOOKING_SECONDS = 0.2
# Time to save a checkpoint and leave, before the processes are killed.
LEAVING_SECONDS = 120.0
SHOWN_LINES = 15
EPOCHS = "epochs.jsonl"

OnProgress = Callable[[int, int], None]
OnEpoch = Callable[[Mapping[str, float | None]], None]


@dataclass
class Exchange:
    """The folder through which the first process and the one that started torchrun speak.

    Attributes:
        folder: on a file system that all nodes share.
    """

    folder: Path
    _show: OnProgress = field(init=False)

    def __post_init__(self) -> None:
        self._show = at_intervals(self._show_progress)

    def ask(self, request: dict[str, Any]) -> None:
        """Empty the folder, and write down what the processes are to do."""
        shutil.rmtree(self.folder, ignore_errors=True)
        write_text(self.folder / "request.json", json.dumps(request))

    @property
    def request(self) -> dict[str, Any]:
        """What they are to do."""
        return json.loads((self.folder / "request.json").read_text(encoding="utf-8"))

    def tell(self, done: int, total: int) -> None:
        """Tell of progress; it is written down now and then.

        Raises:
            Stopped: the processes are asked to leave.
        """
        self._show(done, total)
        if (self.folder / "stop").exists():
            raise Stopped

    def tell_epoch(self, row: Mapping[str, float | None]) -> None:
        """Report an epoch that has ended, by its row of the training's history."""
        with (self.folder / EPOCHS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(row)) + "\n")

    def epochs(self) -> list[dict[str, float | None]]:
        """The rows reported so far."""
        file = self.folder / EPOCHS
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]  # the last may be half-written

    def stop(self) -> None:
        """Ask the processes to save a checkpoint and leave."""
        (self.folder / "stop").touch()

    def end(self, how: str, message: str = "", costs: Mapping[str, float] | None = None) -> None:
        """Write down how it has ended: ``done``, ``stopped``, ``diverged`` or ``refused``.

        Args:
            how: it has ended.
            message: why, where it is not done.
            costs: what was measured of the work, by name.
        """
        write_text(self.folder / "outcome.json", json.dumps([how, message, dict(costs or {})]))

    def read(self, name: str) -> Any:
        """The content of ``progress`` or ``outcome``; None where it is not written yet."""
        file = self.folder / f"{name}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def _show_progress(self, done: int, total: int) -> None:
        write_unsynced(self.folder / "progress.json", json.dumps([done, total]))


def run_processes(
    module: str,
    exchange: Exchange,
    number: int,
    threads: int,
    on_progress: OnProgress,
    on_epoch: OnEpoch = lambda row: None,
) -> dict[str, float]:
    """Start processes with torchrun and follow them to their end.

    Args:
        module: that each of them runs, with the exchange's folder as its argument.
        exchange: with the request.
        number: of processes.
        threads: of the CPU, for each.
        on_progress: called with steps done and steps in all; Stopped from it lets the processes save their
            checkpoint before it is passed on.
        on_epoch: called with each row of the training's history.

    Returns:
        What the first process has measured of its work, by name.

    Raises:
        Diverged: they said so.
        UserError: they said so, or could not be started.
        RuntimeError: one of them failed; the message ends with what they printed last.
        Stopped: as ``on_progress`` asked for.
    """
    command = [*_launcher(number), "-m", module, str(exchange.folder)]
    with (exchange.folder / "output.txt").open("w+b") as output:
        try:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=_environment(threads),
                # What watches the parent where the system does not would not outlive the start of a program.
                preexec_fn=end_with_parent if can_fork() else None,
                start_new_session=True,  # Ctrl-C is for this process, which then ends them in good order
            )
        except OSError as error:
            raise UserError(f"{COMMAND}: {command[0]} cannot be started ({error.strerror}).") from None
        try:
            _follow(process, exchange, on_progress, on_epoch)
        finally:
            if process.poll() is None:
                process.terminate()  # torchrun ends its processes, and kills those that do not leave
                process.wait()
    return _costs_or_raise(exchange, process.returncode)


def _follow(
    process: subprocess.Popen[bytes], exchange: Exchange, on_progress: OnProgress, on_epoch: OnEpoch
) -> None:
    deadline, heard = None, 0
    while process.poll() is None:
        time.sleep(LOOKING_SECONDS)
        progress = exchange.read("progress")
        if deadline is not None and time.monotonic() > deadline:
            raise Stopped
        epochs = exchange.epochs()
        for row in epochs[heard:]:
            on_epoch(row)
        heard = len(epochs)
        try:
            on_progress(*(progress or (0, 1)))
        except Stopped:
            if deadline is None:
                deadline = time.monotonic() + LEAVING_SECONDS
                exchange.stop()


def _costs_or_raise(exchange: Exchange, status: int) -> dict[str, float]:
    how, message, costs = exchange.read("outcome") or ("failed", "", {})
    if how == "stopped":
        raise Stopped
    if how == "diverged":
        raise Diverged(message)
    if how == "refused":
        raise UserError(message)
    if how == "failed":
        lines = (exchange.folder / "output.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        last = "\n".join(lines[-SHOWN_LINES:])
        raise RuntimeError(
            f"a process under torchrun failed (status {status}). All that they printed is in "
            f"{exchange.folder / 'output.txt'}, and it ends:\n{last}"
        )
    return dict(costs)


def _launcher(number: int) -> list[str]:
    if given := os.environ.get(COMMAND, "").strip():
        return shlex.split(given)
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=localhost",
        f"--nproc-per-node={number}",
    ]  # fmt: skip


def _environment(threads: int) -> dict[str, str]:
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    # Otherwise every process warns that DistributedDataParallel looks for weights without a gradient.
    variables.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if COMMAND not in os.environ and sys.platform == "linux":
        # All on this machine, whose name a container may not be able to look up.
        variables.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return variables
