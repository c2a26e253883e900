"""Cells as tasks of Ray, on this machine or on a cluster that runs already.

Ray knows where there is room. What is ready, and what is tried again, `bench.launch.engines.fill` decides, as
for every engine. Code travels with Ray, so that all machines compute with the driver's; files are read from
the project's folder where a machine shares it, and travel by way of the depot where it does not.
"""

import contextlib
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import bench
import imssl
from bench.cells import store
from bench.cells.files import STORE
from bench.cells.keys import Keys
from bench.cells.store.parcels import packed
from bench.launch.compute import Ended
from bench.launch.engines.cluster import ClusterSettings
from bench.launch.engines.depot import Depot, fetch_inputs, fetch_project
from bench.launch.engines.engine import Event
from bench.launch.engines.node import PATIENCE_SECONDS, NodeProcess
from bench.machine.gpus import devices_of, is_on_gpu
from bench.machine.system import cores
from bench.machine.workers import cells_on_a_gpu
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from imssl.errors import UserError, first_line

# Machines come and go.
COUNT_SECONDS = 5.0
# For a cluster's address to be reached.
ANSWER_SECONDS = 10.0
# Of Ray on this machine, where no file travels.
OBJECT_STORE_BYTES = 2**28


class Order(NamedTuple):
    """What a task needs to know.

    Attributes:
        project: the driver's folder.
        token: file in it; a machine that sees it shares the folder.
        cell: to compute.
        key: that it must have.
    """

    project: str
    token: str
    cell: Cell
    key: str


class RayEngine:
    """Cells as tasks of Ray.

    Args:
        keys: of the protocol's cells.
        cluster: what a cell asks for, and where Ray is.
        workers: cells side by side; None for as many as the cluster has room for.

    Raises:
        UserError: Ray cannot be reached, or does not start.
    """

    def __init__(self, keys: Keys, cluster: ClusterSettings, workers: int | None = None) -> None:
        self._keys, self._cluster, self._workers = keys, cluster, workers
        self._running: dict[ray.ObjectRef, Cell] = {}
        self._room, self._counted = 0, float("-inf")
        self._token = STORE / f"shared-{uuid.uuid4().hex}"
        hardware = keys.protocol.hardware
        _connect(cluster.ray.address, hardware.threads * hardware.devices)
        STORE.mkdir(parents=True, exist_ok=True)
        self._token.touch()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = ray.remote(num_cpus=0, max_restarts=2)(Depot).options(scheduling_strategy=here)
        self._depot: Any = options.remote(str(Path.cwd()))
        # No retry by Ray: `fill` counts attempts. Workers are kept for further cells, also those with a GPU.
        self._task = ray.remote(max_retries=0, max_calls=0)(compute_cell_here)

    @property
    def room(self) -> int:
        """How many more cells the cluster has processors for."""
        if self._workers is not None:
            return self._workers - len(self._running)
        if time.monotonic() - self._counted > COUNT_SECONDS:
            self._counted = time.monotonic()
            cpus = ray.cluster_resources().get("CPU", 0.0)
            self._room = max(1, int(cpus // self._keys.protocol.hardware.threads))
        return self._room - len(self._running)

    def submit(self, cell: Cell) -> None:
        """Hand a cell to Ray."""
        order = Order(str(Path.cwd()), str(self._token), cell, self._keys.key(cell))
        reference = self._task.options(**resources_of(cell, self._keys.protocol, self._cluster)).remote(
            order, self._depot
        )
        self._running[reference] = cell

    def events(self) -> Iterator[Event]:
        """What Ray has reported; waits half a second at most."""
        if not self._running:
            return
        ended, _ = ray.wait(list(self._running), num_returns=1, timeout=0.5)
        with contextlib.suppress(RayError):
            news = ray.get(self._depot.news.remote(), timeout=10)
            for cell in self._running.values():
                steps = news.get(self._keys.key(cell))
                if steps is not None:
                    yield Event(cell, steps=steps)
        for reference in ended:
            yield Event(self._running.pop(reference), ended=_ended(reference))

    def close(self) -> None:
        """Let the tasks save their checkpoints and leave; Ray that was started here ends."""
        for reference in self._running:
            ray.cancel(reference)
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running), timeout=PATIENCE_SECONDS)
        self._running = {}
        self._token.unlink(missing_ok=True)
        ray.shutdown()


def resources_of(cell: Cell, protocol: Protocol, cluster: ClusterSettings) -> dict[str, Any]:
    """What a cell's task asks Ray for, as options of it."""
    hardware = protocol.hardware
    devices = devices_of(cell, hardware)
    resources: dict[str, Any] = {"num_cpus": hardware.threads * devices, "name": cell.title}
    if cluster.memory_gib is not None:
        resources["memory"] = int(cluster.memory_gib * 2**30)
    if is_on_gpu(cell, hardware):
        sharing = cluster.cells_per_gpu or cells_on_a_gpu(protocol.datasets[cell.dataset].size)
        # Processes that pretrain together need a GPU each.
        resources["num_gpus"] = devices if devices > 1 else 1 / sharing
    return resources


def _connect(address: str | None, processors_of_a_cell: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    with tempfile.TemporaryDirectory(prefix="imssl-bench-") as code:
        for package in (bench, imssl):
            folder = Path(package.__file__ or "").parent
            shutil.copytree(folder, Path(code) / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
        options: dict[str, Any] = {"runtime_env": {"working_dir": code}, "logging_level": "warning"}
        if address is None:
            options |= {
                "address": "local",
                # With fewer than a cell asks for, Ray would wait for a larger machine for ever.
                "num_cpus": max(cores(), processors_of_a_cell),
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
            }
        else:
            options["address"] = address
        try:
            _reach(address)
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OverflowError, OSError) as error:
            if address is None:
                raise UserError(f"Ray does not start on this machine: {error}") from None
            # Ray's own message leaves this out, and a cluster has a token where one lies in ~/.ray.
            way_out = (
                "" if os.environ.get("RAY_AUTH_MODE") else " If it asks for a token, set RAY_AUTH_MODE=token."
            )
            raise UserError(f"no Ray answers at {address}: {error}.{way_out}") from None


def _reach(address: str | None) -> None:
    """See whether something listens at an address: where nothing does, Ray itself tries for ten minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if port.isdecimal():  # and not, for instance, "auto"
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()


def compute_cell_here(order: Order, depot: Any) -> Ended:
    """The task: compute a cell on the machine where it runs."""

    def ask(method: str, *arguments: Any) -> Any:
        return ray.get(getattr(depot, method).remote(*arguments))

    def tell(done: int, total: int) -> None:
        depot.tell.remote(order.key, done, total)

    is_shared = Path(order.project, order.token).is_file()
    # Ray removes its folders when the driver has ended.
    folder = Path(order.project) if is_shared else Path.cwd() / Path(order.token).name
    try:
        if not is_shared:
            fetch_project(folder, ask)
            with contextlib.chdir(folder):
                fetch_inputs(order.cell, ask)
    except UserError as error:
        return Ended("failed", str(error))
    node = _node_process(folder)
    try:
        ended = node.compute(order.cell, order.key, tell)
    except BaseException:  # the driver has cancelled it
        node.stop()
        raise
    if not is_shared and ended.how == "done":
        with contextlib.chdir(folder):
            ask("bring", order.cell, order.key, packed(store.cell_folder(order.cell, order.key)))
    return ended


_processes: dict[Path, NodeProcess] = {}


def _node_process(folder: Path) -> NodeProcess:
    """The process of this worker; a new one where there is none, or it has ended."""
    if folder not in _processes or not _processes[folder].is_alive:
        _processes[folder] = NodeProcess(folder, Path(bench.__file__).parents[1])
    return _processes[folder]


def _ended(reference: Any) -> Ended:
    try:
        ended: Ended = ray.get(reference)
    except RayTaskError as error:
        return Ended("failed", str(error.cause or error).strip().splitlines()[-1])
    except RayError as error:  # the worker or its machine has gone
        return Ended("lost", first_line(error))
    return ended
