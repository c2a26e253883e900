"""Whether a GPU is here, and what is said where torch cannot use it; the GPUs and drivers are made up."""

import os

import pytest
import torch

from imssl import device_kind as module
from imssl.device import select_device
from imssl.device_kind import GPU_VARIABLES, device_kind, device_problem, gpu_sign, has_gpu, torch_uses_gpu
from imssl.errors import UserError
from imssl.settings.hardware import Hardware

NVIDIA_SMI = """#!/bin/sh
case "$1" in
--list-gpus) echo "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)" ;;
--query-gpu=driver_version) echo 525.60.13 ;;
*) exit 2 ;;
esac
"""
ROCM_SMI = """#!/bin/sh
echo "device,Device Name,Device ID"
echo "card0,AMD Instinct MI250,0x740c"
"""
# A driver that is installed where no GPU is.
NO_DEVICES = """#!/bin/sh
echo "No devices were found"
exit 6
"""


def hardware(device):
    return Hardware(device=device, threads=1, precision="float32")


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """A machine on which nothing speaks of a GPU, with a torch that finds none."""
    for name in GPU_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "DEVICE_FILES", (tmp_path / "nvidia0",))
    monkeypatch.setattr(module, "DRIVER_FILES", (tmp_path / "version",))
    monkeypatch.setattr(module, "_cuda_of_driver", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "tools").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}{os.pathsep}/bin{os.pathsep}/usr/bin")
    module._listed_gpu.cache_clear()
    yield
    module._listed_gpu.cache_clear()


@pytest.fixture
def install(tmp_path):
    def write(name, text):
        tool = tmp_path / "tools" / name
        tool.write_text(text)
        tool.chmod(0o755)

    return write


def test_a_bare_machine_computes_on_its_cpu_and_nothing_is_questioned():
    assert not has_gpu()
    assert device_kind(hardware("auto")) == "cpu"
    assert device_problem(hardware("auto")) is None
    assert "no GPU" in device_problem(hardware("cuda"))


def test_a_device_file_a_variable_and_the_drivers_tool_speak_of_a_gpu(monkeypatch, tmp_path, install):
    install("nvidia-smi", NVIDIA_SMI)
    assert gpu_sign() == "nvidia-smi names GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)"
    (tmp_path / "nvidia0").touch()
    assert gpu_sign() == f"{tmp_path / 'nvidia0'} is there"


@pytest.mark.parametrize("name", GPU_VARIABLES)
def test_whoever_sets_a_variable_names_gpus_or_hides_them(monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, "2,3")
    assert gpu_sign() == f"{name} is 2,3"
    (tmp_path / "nvidia0").touch()
    for value in ("", "-1", "NoDevFiles"):
        monkeypatch.setenv(name, value)
        assert not has_gpu()
        assert device_problem(hardware("auto")) is None


@pytest.mark.parametrize(
    ("tool", "text", "is_gpu"),
    [("rocm-smi", ROCM_SMI, True), ("nvidia-smi", NO_DEVICES, False), ("rocm-smi", NO_DEVICES, False)],
)
def test_a_tool_counts_only_where_it_lists_a_gpu(install, tool, text, is_gpu):
    install(tool, text)
    assert has_gpu() == is_gpu


def test_a_gpu_that_torch_cannot_use_is_named_with_driver_build_and_three_ways_out(install):
    install("nvidia-smi", NVIDIA_SMI)
    problem = device_problem(hardware("auto"))
    assert "driver 525.60.13" in problem
    assert f"torch {torch.__version__}, built for" in problem
    for way_out in ("--torch-backend=auto", "newer driver", "hardware.device: cpu"):
        assert way_out in problem
    with pytest.raises(UserError, match="525"):
        select_device(hardware("auto"))
    assert device_kind(hardware("auto")) == "cpu"  # for those that only read


def test_the_cpu_is_never_questioned(install):
    install("nvidia-smi", NVIDIA_SMI)
    assert device_problem(hardware("cpu")) is None
    assert select_device(hardware("cpu")).type == "cpu"


@pytest.mark.parametrize(
    ("built_for", "driver", "usable"),
    [("13.2", 13, True), ("13.2", 12, False), ("12.6", 13, True), (None, 12, True), ("13.2", None, True)],
)
def test_a_driver_older_than_the_build_is_seen_without_starting_cuda(
    monkeypatch, tmp_path, built_for, driver, usable
):
    """NVIDIA's compatibility: a driver runs what is built for its own CUDA before the dot, or an earlier one.

    Asked without starting CUDA, torch counts GPUs and says yes.
    """
    (tmp_path / "nvidia0").touch()
    (tmp_path / "version").write_text("535.104.05\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(module, "_cuda_of_driver", lambda: driver)
    assert torch_uses_gpu() == usable
    assert device_kind(hardware("auto")) == ("cuda" if usable else "cpu")
    problem = device_problem(hardware("auto"))
    assert problem is None if usable else "driver 535.104.05, which runs CUDA 12, torch" in problem
