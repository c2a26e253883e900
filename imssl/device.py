"""Where and in which precision a model runs."""

import ctypes
import os
import resource
import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from imssl.errors import UserError
from imssl.settings.hardware import Hardware

# Of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def select_device(hardware: Hardware) -> torch.device:
    """Set up threads, memory and deterministic algorithms, and return the device.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    torch.set_num_threads(hardware.threads)
    _keep_freed_memory()
    # cuBLAS reads this when it starts; without it two runs may differ in the last bits.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Looking for a GPU must not start CUDA in this process: cells that share the GPU are forked from it, and
    # each of them must start CUDA itself.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    if hardware.device == "cpu" or (hardware.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("params.yaml: hardware.device is cuda, but torch finds no GPU here. Use auto or cpu.")
    return torch.device("cuda")


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next step, instead of handing it back to the system.

    Otherwise the gradients and feature maps of each step need new memory, which the system fills with zeros
    page by page; that takes 5% of a step.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    # Other C libraries than glibc have no mallopt.
    if library is not None and hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, 2**30)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a forward pass."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def on_device(module: nn.Module, device: torch.device) -> nn.Module:
    """The module on the device, its convolutions in channels-last order (faster on CPU and GPU)."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device, without waiting for the work that the device has still to do.

    An ordinary copy to a GPU waits until the GPU has finished all its work, so the CPU could never prepare a
    step while the one before it runs. A copy from page-locked memory is queued instead.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def hardware_name(device: torch.device) -> str:
    """Name of the GPU, or of the processor with the number of torch's threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = "CPU"
    return f"{name}, {torch.get_num_threads()} threads"


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far, in MiB: of the GPU if one is used, otherwise resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
