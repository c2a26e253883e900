"""`bench check` names what a run would die of."""

import os
from pathlib import Path

import pytest
import torch

from bench.forecast.plan import at_once_here
from bench.perf.calibration import calibrate
from bench.protocol.protocol import read_protocol
from bench.stages import inputs
from bench.trust.run_check import mistakes, unprepared
from imssl import device_kind
from imssl.errors import UserError

IDC = """  fundus:
    source: idc
    path: {path}
    size: 16
    channels: 3
    horizontal_flip: true
    vertical_flip: true
"""


def only(problems):
    (problem,) = problems
    return problem


def test_a_protocol_that_runs_has_no_mistakes(prepared_project):
    protocol = read_protocol()
    assert mistakes(protocol) == []
    assert unprepared(protocol) == []


def test_a_batch_of_more_images_than_there_are_is_named_for_each_data_set(prepared_project, edited):
    protocol = edited("batch_size: 16\n  optimisation", "batch_size: 60000\n  optimisation")
    problems = mistakes(protocol)
    assert len(problems) == len(protocol.datasets)
    for problem, dataset in zip(problems, protocol.datasets, strict=True):
        assert "pretrain.batch_size is 60000" in problem
        assert dataset in problem
        assert problem.startswith("params.yaml, line ")


def test_a_batch_that_no_method_uses_is_no_mistake(prepared_project, edited, tiny):
    head, _, rest = tiny.partition("methods:\n")
    rest = rest[rest.index("encoder:") :].replace("baseline: moco", "baseline: random-init")
    rest = rest.replace("batch_size: 16\n  optimisation", "batch_size: 60000\n  optimisation")
    (prepared_project / "params.yaml").write_text(f"{head}methods:\n  random-init: {{}}\n\n{rest}")
    assert mistakes(read_protocol()) == []


def test_a_queue_of_more_keys_than_images_is_named(prepared_project, edited):
    protocol = edited("  moco:\n    hidden: 16\n    dimension: 8\n    queue: 32", "  moco:\n    queue: 9999")
    problems = mistakes(protocol)
    assert len(problems) == len(protocol.datasets)
    assert all("methods.moco.queue is 9999" in problem for problem in problems)
    assert "datasets.chest.methods.moco.queue" in problems[0]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "an empty folder"),
        (lambda path: path.touch(), "an empty file"),
    ],
)
def test_data_that_are_not_there_are_named(project, edited, tiny, make, word):
    make(project / "images")
    start = tiny.index("  fundus:")
    text = tiny[:start] + IDC.format(path="images") + "\n" + tiny[tiny.index("methods:\n") :]
    (project / "params.yaml").write_text(text)
    protocol = read_protocol()
    problem = only(mistakes(protocol))
    assert "datasets.fundus.path is images" in problem
    assert word in problem
    assert unprepared(protocol) == ["chest", "fundus"]


@pytest.fixture
def unusable_gpu(tmp_path, monkeypatch):
    """A GPU that a driver's tool on the path lists, and that torch finds not."""
    tool = tmp_path / "tools" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n[ $1 = --list-gpus ] && echo 'GPU 0: NVIDIA A100' || echo 525.60.13\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(device_kind, "DEVICE_FILES", ())
    for name in device_kind.GPU_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    device_kind._listed_gpu.cache_clear()
    yield
    device_kind._listed_gpu.cache_clear()


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_that_torch_cannot_use_stops_check_plan_and_the_first_stage(
    prepared_project, edited, unusable_gpu, device
):
    protocol = edited("device: cpu", f"device: {device}")
    line = (prepared_project / "params.yaml").read_text().splitlines().index(f"  device: {device}") + 1
    message = only(mistakes(protocol))
    assert message.startswith(
        f"params.yaml, line {line}: hardware.device is {device}, and this machine has a GPU"
    )
    assert "driver 525.60.13" in message
    with pytest.raises(UserError, match=r"driver 525\.60\.13"):
        inputs.run(protocol)
    assert not Path("results").exists()
    with pytest.raises(UserError, match=r"driver 525\.60\.13"):
        at_once_here(protocol, 2)  # asked by `bench plan` before it measures
    with pytest.raises(UserError, match=r"driver 525\.60\.13"):
        calibrate(protocol, 1.0)


def test_a_gpu_that_is_not_there_is_named(prepared_project, edited, monkeypatch):
    monkeypatch.setattr(device_kind, "gpu_sign", lambda: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no GPU" in only(mistakes(edited("device: cpu", "device: cuda")))


def test_the_cpu_is_never_questioned(prepared_project, unusable_gpu):
    assert mistakes(read_protocol()) == []


def test_more_devices_than_gpus_are_named(prepared_project, edited, monkeypatch):
    protocol = edited("  threads: 1\n", "  threads: 1\n  devices: 4\n")
    protocol = protocol.model_copy(
        update={"hardware": protocol.hardware.model_copy(update={"device": "cuda"})}
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for gpus in (2, 4):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        problems = mistakes(protocol)
        assert len(problems) == (gpus < 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "hardware.devices is 4, but there are 2 GPUs here" in only(mistakes(protocol))
    monkeypatch.setenv("IMSSL_BENCH_TORCHRUN", "srun torchrun")
    assert mistakes(protocol) == []
