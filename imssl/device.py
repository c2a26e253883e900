"""Where and in which precision a model runs."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from imssl.device_kind import device_kind, device_problem
from imssl.errors import UserError
from imssl.operating_system import keep_freed_memory, peak_resident_mib, processor_name
from imssl.settings.hardware import Hardware


def select_device(hardware: Hardware) -> torch.device:
    """Set up threads, memory and deterministic algorithms, and return the device.

    Raises:
        UserError: a GPU is asked for and there is none, or there is one that torch cannot use.
    """
    problem = device_problem(hardware)
    if problem is not None:
        raise UserError(f"params.yaml: {problem}")
    torch.set_num_threads(hardware.threads)
    keep_freed_memory()
    # cuBLAS reads this when it starts; without it two runs may differ in the last bits.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    return torch.device(device_kind(hardware))


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
    return f"{processor_name()}, {torch.get_num_threads()} threads"


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far, in MiB: of the GPU if one is used, otherwise resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_resident_mib()
