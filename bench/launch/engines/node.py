"""A process that computes cells on a machine of a cluster, directed by lines of JSON.

A worker of Ray or of Slurm has threads of its own, after which forking is not safe, and one that has imported
a method's file may compute nothing else. So it starts this process, which imports the large libraries once
and forks others for its cells, as `bench.launch.engines.local` does on the driver's machine.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.cells.job import OnProgress
from bench.cells.keys import Keys
from bench.launch.compute import Ended
from bench.launch.engines.local import LocalEngine
from bench.machine.stop import noticing_sigterm
from bench.machine.system import end_with_parent, start_method
from bench.protocol.cell import Cell, cell_fields, cell_in
from bench.protocol.protocol import read_protocol
from imssl.device_kind import device_kind
from imssl.errors import UserError

# Beside the time that its cells have for their checkpoints.
PATIENCE_SECONDS = 40.0

# The sources are read before they are imported, see bench.protocol.source_files.at_start.
SERVE = """
import sys
from bench.protocol.source_files.at_start import sources_at_start
sources_at_start()
from bench.launch.engines.node import serve
serve(int(sys.argv[1]))
"""


class NodeProcess:
    """The process, as the worker sees it that has started it.

    Args:
        folder: of the project, or of what this machine has of it.
        code: the folder that holds the two packages.
    """

    def __init__(self, folder: Path, code: Path) -> None:
        reading, writing = os.pipe()
        path = os.pathsep.join(part for part in (str(code), os.environ.get("PYTHONPATH", "")) if part)
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(writing)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            pass_fds=[writing],
            text=True,
        )
        os.close(writing)
        self._news = os.fdopen(reading, encoding="utf-8")

    @property
    def is_alive(self) -> bool:
        """Whether it can be given another cell."""
        return self._process.poll() is None

    def compute(self, cell: Cell, key: str, on_progress: OnProgress) -> Ended:
        """Compute a cell, and wait for it."""
        # The GPU that this worker was given may be another one for each cell.
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        request = json.dumps({"cell": cell_fields(cell), "key": key, "gpus": gpus}) + "\n"
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no news, either
            self._process.stdin.write(request)
            self._process.stdin.flush()
        for line in self._news:
            news = json.loads(line)
            if "how" in news:
                ended = Ended(**news)
                # Asked by somebody else than the driver to leave: what it kept serves the next attempt.
                return ended if ended.how != "stopped" else Ended("lost", ended.message)
            on_progress(news["done"], news["total"])
        status = self._process.wait()
        return Ended("lost", f"its process on {socket.gethostname()} ended with status {status}")

    def stop(self) -> None:
        """Let it save the checkpoint of its cell and leave."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_SECONDS)
        self._process.kill()
        self._process.wait()
        # A signal may have come while `compute` was reading, which does not let it be closed here.
        with contextlib.suppress(RuntimeError):
            self._news.close()


def serve(news_descriptor: int) -> None:
    """Compute the cells that standard input names, and write what becomes of them."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Slurm announces a preemption to every process of a job. The worker answers for all of them, by `stop`;
    # these two would otherwise end this process and the cell's, before anything is saved.
    for announced in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(announced, signal.SIG_IGN)
    # Not inherited by the cells' processes, or the worker would not see that this one has ended.
    os.set_inheritable(news_descriptor, False)
    with os.fdopen(news_descriptor, "w", encoding="utf-8") as news:

        def tell(content: dict[str, Any]) -> None:
            news.write(json.dumps(content) + "\n")
            news.flush()

        try:
            keys = Keys(read_protocol())
        except UserError as error:
            for _ in sys.stdin:
                tell(Ended("failed", str(error))._asdict())
            return
        engine = LocalEngine(keys, 1, start_method())
        for line in sys.stdin:
            request = json.loads(line)
            cell = cell_in(request["cell"])
            if request["gpus"] not in (None, os.environ.get("CUDA_VISIBLE_DEVICES")):
                engine.dismiss_idle()  # they keep to the GPU that they began with
                os.environ["CUDA_VISIBLE_DEVICES"] = request["gpus"]
            refusal = _other_key(cell, request["key"], keys)
            if refusal is not None:
                tell(Ended("failed", refusal)._asdict())
            elif _is_stopped(cell, engine, tell):
                return


def _is_stopped(cell: Cell, engine: LocalEngine, tell: Callable[[dict[str, Any]], None]) -> bool:
    """Compute a cell and tell of it; whether this process has been asked to leave meanwhile."""
    import_module(f"bench.stages.{cell.stage}")  # before the fork
    with noticing_sigterm() as stop:
        engine.submit(cell)
        while not stop.received:
            for event in engine.events():
                if event.ended is not None:
                    tell(event.ended._asdict())
                    return stop.received
                tell({"done": event.steps[0], "total": event.steps[1]})
        engine.close()
    tell(Ended("stopped", f"{socket.gethostname()} was asked to leave; the checkpoint is kept")._asdict())
    return True


def _other_key(cell: Cell, key: str, keys: Keys) -> str | None:
    """Why this machine would compute something else than the driver asks for; None where it would not."""
    try:
        here = keys.key(cell)
    except UserError as error:
        return f"{socket.gethostname()}: {error}"
    if here == key:
        return None
    return (
        f"{socket.gethostname()} would compute other numbers than the driver asks for: its code, data, "
        f"weights or kind of device ({device_kind(keys.protocol.hardware)} here) are others. Where it is the "
        "device, write cpu or cuda into params.yaml: hardware.device, in the place of auto."
    )
