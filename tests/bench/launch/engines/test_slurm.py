"""Cells as jobs of submitit, by its local executor: the bytes of a serial run, preemption included.

A real Slurm is used where one answers.
"""

import json
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from bench.cells.keys import Keys
from bench.cells.store.running import running_cell
from bench.launch.engines.cluster import ClusterSettings, read_cluster
from bench.launch.engines.local import InThisProcess
from bench.launch.fill_store import fill_store, wanted_cells
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError
from tests.bench.launch.filling import CHAIN, contents, filled

pytest.importorskip("submitit", reason="needs the extra slurm")


def serial(only=CHAIN):
    """What a serial run leaves; the store is empty again after it."""
    cells = wanted_cells(read_protocol(), only)
    outcome, _ = filled(InThisProcess(Keys(read_protocol()), lambda *_: None), cells)
    assert set(outcome.done) == set(cells)
    left = contents()
    shutil.rmtree(".bench")
    return left


def answers():
    """Whether there is a Slurm here."""
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True, timeout=30, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "slurm"])
def test_jobs_give_the_bytes_of_a_serial_run(prepared_project, executor):
    if executor == "slurm" and not answers():
        pytest.skip("no Slurm answers here")
    expected = serial()
    Path("cluster.yaml").write_text(f"slurm:\n  executor: {executor}\n  minutes: 30\n  at_once: 2\n")
    assert fill_store([json.dumps({"on": "slurm", "only": CHAIN})]) == 0
    assert contents() == expected


def preempt(job, executor):
    """Send a job the signal that Slurm sends to its tasks before a preemption."""
    if executor == "slurm":
        subprocess.run(["scancel", "--signal=USR2", job.job_id], check=True)
    else:  # submitit's own way would end the process that queues the job again
        (task,) = psutil.Process(job._process.pid).children()
        task.send_signal(signal.SIGUSR2)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "slurm"])
def test_a_preempted_job_saves_its_checkpoint_and_is_queued_again(prepared_project, edited, executor):
    from bench.launch.engines.slurm import SlurmEngine

    if executor == "slurm" and not answers():
        pytest.skip("no Slurm answers here")
    edited("  epochs: 2\n  batch_size: 16", "  epochs: 40\n  batch_size: 16")
    cell = Cell("pretrain", "chest", "moco", 0)
    expected = serial(("pretrain/chest/moco",))
    keys = Keys(read_protocol())
    engine = SlurmEngine(keys, ClusterSettings(slurm={"executor": executor}))
    seen = []

    def watch():
        while (note := running_cell(keys.key(cell))) is None or note.steps[0] == 0:
            time.sleep(0.05)
        job = engine._jobs[cell]
        preempt(job, executor)
        checkpoint = Path(".bench/checkpoints") / keys.key(cell) / "checkpoint.pt"
        while not seen and not job.paths.result_pickle.exists():
            time.sleep(0.02)
            if checkpoint.exists():
                seen.append(checkpoint)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    outcome, _ = filled(engine, [cell])
    thread.join()
    assert outcome.done == [cell]
    assert seen
    assert contents() == expected


def test_a_job_of_several_devices_asks_for_all_of_them(monkeypatch):
    from bench.launch.engines.slurm import job_options

    monkeypatch.delenv("IMSSL_BENCH_TORCHRUN", raising=False)
    cluster = ClusterSettings(slurm={"gres": "gpu:a100:1,shard:2", "partition": "gpu"})
    alone, together = (job_options(cluster, 3, 10, devices, on_gpu=True) for devices in (1, 4))
    assert (alone["cpus_per_task"], alone["slurm_gres"]) == (3, "gpu:a100:1,shard:2")
    assert (together["cpus_per_task"], together["slurm_gres"]) == (12, "gpu:a100:4,shard:8")
    assert together["slurm_partition"] == "gpu"
    assert "slurm_gres" not in job_options(cluster, 3, 10, 4, on_gpu=False)
    uncounted = ClusterSettings(slurm={"gres": "gpu"})
    assert [job_options(uncounted, 1, 1, n, on_gpu=True)["slurm_gres"] for n in (1, 2)] == ["gpu", "gpu:2"]
    # On several nodes, what each of them gives stands in the command and in cluster.yaml.
    monkeypatch.setenv("IMSSL_BENCH_TORCHRUN", "srun torchrun")
    assert job_options(cluster, 3, 10, 4, on_gpu=True) == alone


def test_cluster_yaml_is_checked(project):
    assert read_cluster() == ClusterSettings()
    Path("cluster.yaml").write_text("memory_gib: 8\nslurm:\n  partition: gpu\n  gres: gpu:1\n")
    assert read_cluster().slurm.gres == "gpu:1"
    Path("cluster.yaml").write_text("slurm:\n  partitoin: gpu\n")
    with pytest.raises(UserError, match=r"cluster.yaml, line 2: slurm\.partitoin"):
        read_cluster()
    Path("cluster.yaml").write_text("slurm:\n  minutes: 0\n")
    with pytest.raises(UserError, match=r"slurm\.minutes"):
        read_cluster()
