"""Which kind of device a model runs on, and whether a GPU is here, found out without torch wherever possible.

The kind is part of a cell's key, and keys are also made by commands that compute nothing.
"""

import ctypes
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Literal

from imssl.settings.hardware import Hardware

DeviceKind = Literal["cpu", "cuda"]

# Where Linux shows a GPU of NVIDIA or AMD to programs. Below WSL every graphics card has a device file, and
# NVIDIA's library is there with one of theirs only.
DEVICE_FILES = (
    Path("/dev/nvidiactl"),
    Path("/dev/nvidia0"),
    Path("/usr/lib/wsl/lib/libcuda.so.1"),
    Path("/dev/kfd"),
)
# By which users and schedulers say which GPUs a program may use, and the values that say none.
GPU_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "SLURM_JOB_GPUS",
    "SLURM_STEP_GPUS",
)
NO_GPUS = {"", "-1", "none", "void", "nodevfiles"}
# What prints a line for every GPU.
LISTINGS = (("nvidia-smi", "--list-gpus"), ("rocm-smi", "--showid", "--csv"))
# Where Linux and NVIDIA's tool tell the version of a driver.
DRIVER_FILES = (Path("/sys/module/nvidia/version"), Path("/sys/module/amdgpu/version"))
DRIVER_QUERY = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
TOOL_SECONDS = 20.0


def device_kind(hardware: Hardware) -> DeviceKind:
    """What ``auto`` is on this machine: a GPU that torch can use, or else the CPU.

    Args:
        hardware: any other device is what it says, whether this machine has it or not.
    """
    if hardware.device != "auto":
        return hardware.device
    return "cuda" if has_gpu() and torch_uses_gpu() else "cpu"


def has_gpu() -> bool:
    """Whether anything here speaks of a GPU that this process may use, whether torch can use it or not."""
    return gpu_sign() is not None


def gpu_sign() -> str | None:
    """What speaks of a GPU that this process may use, in words; None where nothing does.

    Whoever sets a variable such as CUDA_VISIBLE_DEVICES to nothing has hidden the GPUs on purpose.
    """
    named = {name: os.environ[name] for name in GPU_VARIABLES if name in os.environ}
    if any(value.strip().lower() in NO_GPUS for value in named.values()):
        return None
    for file in DEVICE_FILES:
        if file.exists():
            return f"{file} is there"
    for name, value in named.items():
        return f"{name} is {value}"
    return next((sign for command in LISTINGS if (sign := _listed_gpu(command)) is not None), None)


def torch_uses_gpu() -> bool:
    """Whether torch can compute on a GPU here, found out without starting CUDA in this process.

    Cells that share a GPU are forked from it, and each of them must start CUDA itself.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    # Imported here: torch takes seconds, and most machines without a GPU never ask.
    import torch

    if not torch.cuda.is_available():
        return False
    # Without starting CUDA torch counts the GPUs only. A driver runs programs that are built for its own
    # number of CUDA before the dot, and for earlier ones.
    driver = _cuda_of_driver()
    return driver is None or torch.version.cuda is None or driver >= int(torch.version.cuda.split(".")[0])


def device_problem(hardware: Hardware) -> str | None:
    """Why nothing should be computed on this machine's device, and the ways out; None where it may.

    A GPU that torch cannot use is one, as the CPU would quietly take days. ``cpu`` is never questioned.
    """
    sign = None if hardware.device == "cpu" else gpu_sign()
    if hardware.device == "cpu" or (hardware.device == "auto" and sign is None) or torch_uses_gpu():
        return None
    if sign is None:
        return "hardware.device is cuda, but this machine has no GPU. Set it to auto or cpu."
    return (
        f"hardware.device is {hardware.device}, and this machine has a GPU ({sign}) that torch cannot use: "
        f"{driver_in_words()}, {torch_build()}. There are three ways out: another build of torch (uv pip "
        "install --torch-backend=auto --reinstall torch torchvision takes the one for this driver), a newer "
        "driver, or hardware.device: cpu in params.yaml."
    )


def torch_build() -> str:
    """The version of torch and what it is built for."""
    import torch

    built_for = "the CPU"
    if torch.version.cuda:
        built_for = f"CUDA {torch.version.cuda}"
    elif torch.version.hip:
        built_for = f"ROCm {torch.version.hip}"
    return f"torch {torch.__version__}, built for {built_for}"


def driver_in_words() -> str:
    """The version of the GPU's driver and the CUDA that it runs, as far as they can be found out."""
    versions = [file.read_text(encoding="utf-8").strip() for file in DRIVER_FILES if file.is_file()]
    version = next(iter([*versions, *_lines(DRIVER_QUERY)]), None)
    cuda = _cuda_of_driver()
    runs = f", which runs CUDA {cuda}" if cuda is not None else ""
    return f"driver {version}{runs}" if version else f"a driver that cannot be asked for its version{runs}"


@cache
def _listed_gpu(command: tuple[str, ...]) -> str | None:
    gpus = [line for line in _lines(command) if line.lower().startswith(("gpu ", "card"))]
    return f"{command[0]} names {gpus[0]}" if gpus else None


def _lines(command: tuple[str, ...]) -> list[str]:
    """What a tool prints; nothing where it is not installed or fails."""
    if shutil.which(command[0]) is None:
        return []
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TOOL_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return []
    return ended.stdout.strip().splitlines()


def _cuda_of_driver() -> int | None:
    """The newest CUDA that NVIDIA's driver runs, the number before the dot; None where it cannot be asked."""
    try:
        version = ctypes.c_int()
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed else version.value // 1000
