"""Cells on Ray: bit for bit those of a serial run, whether files are shared or travel, whatever is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.cells.keys import Keys
from bench.launch.engines.cluster import ClusterSettings
from bench.launch.engines.local import InThisProcess
from bench.launch.fill_store import fill_store, wanted_cells
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from tests.bench.launch.filling import CHAIN, contents, filled

ray = pytest.importorskip("ray", reason="needs the extra ray")

slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def as_urgent_as_other_tests(monkeypatch):
    """Ray asks the system to put its workers last: they stand still beside another process of tests."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


def serial(only=CHAIN):
    """What a serial run leaves; the store is empty again after it."""
    cells = wanted_cells(read_protocol(), only)
    outcome, _ = filled(InThisProcess(Keys(read_protocol()), lambda *_: None), cells)
    assert set(outcome.done) == set(cells)
    left = contents()
    shutil.rmtree(".bench")
    return left


def test_a_task_of_several_devices_asks_for_all_of_them(project):
    from bench.launch.engines.ray import resources_of

    protocol = read_protocol()
    hardware = protocol.hardware.model_copy(update={"device": "cuda", "devices": 4, "threads": 3})
    protocol = protocol.model_copy(update={"hardware": hardware})
    pretrain, ks = (Cell(stage, "chest", "moco", 0) for stage in ("pretrain", "ks"))
    asked = resources_of(pretrain, protocol, ClusterSettings(memory_gib=2))
    assert asked == {"num_cpus": 12, "num_gpus": 4, "memory": 2**31, "name": pretrain.title}
    assert resources_of(ks, protocol, ClusterSettings()) == {"num_cpus": 3, "name": ks.title}
    alone = protocol.model_copy(update={"hardware": hardware.model_copy(update={"devices": 1})})
    assert resources_of(pretrain, alone, ClusterSettings(cells_per_gpu=4))["num_gpus"] == 0.25


@pytest.fixture
def engine():
    """Makes an engine, which is closed at the end."""
    from bench.launch.engines.ray import RayEngine

    made = []

    def make(**cluster):
        made.append(RayEngine(Keys(read_protocol()), ClusterSettings(**cluster), workers=2))
        return made[0]

    yield make
    for each in made:
        each.close()


@slow
def test_ray_gives_the_bytes_of_a_serial_run(prepared_project):
    expected = serial()
    assert fill_store([json.dumps({"on": "ray", "only": CHAIN, "workers": 2})]) == 0
    assert contents() == expected
    assert not list(Path(".bench/claims").iterdir())
    assert not list(Path(".bench").glob("shared-*"))


@slow
def test_files_travel_where_a_machine_does_not_share_the_folder(prepared_project, engine, monkeypatch):
    expected = serial()
    cells = wanted_cells(read_protocol(), CHAIN)
    here = engine()
    here._token.unlink()  # so no machine sees it
    outcome, progress = filled(here, cells)
    assert progress.lost == {}
    assert set(outcome.done) == set(cells)
    assert contents() == expected


@slow
def test_a_killed_worker_is_tried_again(prepared_project, engine, edited):
    edited("  epochs: 2\n  batch_size: 16", "  epochs: 40\n  batch_size: 16")
    cell = Cell("pretrain", "chest", "moco", 0)
    expected = serial(("pretrain/chest/moco",))
    here = engine()
    claim = Path(".bench/claims") / Keys(read_protocol()).key(cell)

    def kill_the_cell():
        while not claim.exists():
            time.sleep(0.05)
        os.kill(json.loads(claim.read_text())["process"], signal.SIGKILL)

    killer = threading.Thread(target=kill_the_cell)
    killer.start()
    outcome, _ = filled(here, [cell])
    killer.join()
    assert outcome.done == [cell]
    assert contents() == expected


@slow
def test_a_node_that_is_lost_in_the_middle_costs_nothing_but_time(prepared_project, edited):
    from ray.cluster_utils import Cluster

    from bench.launch.engines.ray import RayEngine

    edited("  epochs: 2\n  batch_size: 16", "  epochs: 40\n  batch_size: 16")
    expected = serial()
    # The nodes inherit where the packages are.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    here = RayEngine(Keys(read_protocol()), ClusterSettings(ray={"address": cluster.address}))
    lost = []

    def lose_the_node():
        while not list(Path(".bench/running").glob("*.json")):
            time.sleep(0.05)
        time.sleep(1)
        cluster.remove_node(node, allow_graceful=False)
        lost.append(node)

    thread = threading.Thread(target=lose_the_node)
    thread.start()
    try:
        cells = wanted_cells(read_protocol(), (*CHAIN, "pretrain/chest/random-init"))
        outcome, progress = filled(here, cells)
        thread.join()
    finally:
        here.close()
        cluster.shutdown()
    assert lost
    assert progress.lost == {}
    assert set(outcome.done) == set(cells)
    assert expected.items() <= contents().items()


@slow
def test_a_cluster_that_does_not_answer_is_a_mistake_and_no_traceback(prepared_project, monkeypatch):
    # Ray leaves it in this process after it has started here.
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    program = "import sys; from bench.launch.fill_store import fill_store; sys.exit(fill_store(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", program, json.dumps({"on": "ray", "only": CHAIN, "address": "127.0.0.1:1"})],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "no Ray answers at 127.0.0.1:1" in ended.stderr
    assert "RAY_AUTH_MODE=token" in ended.stderr
    assert "Traceback" not in ended.stderr
