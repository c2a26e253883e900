"""All measurements, one group after another."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench.perf.groups import analyses, augmentation, costs, finetuning, memory, pretraining, probes, sharing
from bench.perf.measure import Effort, Figure
from bench.protocol.protocol import Protocol
from imssl.device import hardware_name, select_device
from imssl.errors import UserError
from imssl.settings.hardware import Hardware

GROUPS = ("pretraining", "sharing", "augmentation", "finetuning", "probes", "analyses", "costs")
# Measured when asked for by name: it writes 5.6 GB and takes minutes.
ON_REQUEST = ("memory",)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(
    effort: Effort,
    protocol: Protocol,
    threads: int,
    against: str | None,
    groups: tuple[str, ...],
    on_group: Callable[[str], None],
) -> Iterator[Figure]:
    """Measure the groups.

    Args:
        effort: how long.
        protocol: of the current folder; its device and precision are measured on, and its report is timed.
        threads: of torch and of NumPy's BLAS.
        against: ``lightly``, or None.
        groups: some of `GROUPS` and `ON_REQUEST`.
        on_group: told the name of each group that begins.

    Raises:
        UserError: an unknown group, or lightly is asked for and not installed.
    """
    known = (*GROUPS, *ON_REQUEST)
    for group in groups:
        if group not in known:
            raise UserError(f"--only {group}: there is no such group; there are: {', '.join(known)}")
    if against is not None:
        from bench.perf.groups.lightly_moco import check_installed

        check_installed()
    hardware = protocol.hardware.model_copy(update={"threads": threads})
    device = select_device(hardware)
    with tempfile.TemporaryDirectory(prefix="bench-perf-") as name:
        folder = Path(name)
        measured: dict[str, Callable[[], Iterator[Figure]]] = {
            "pretraining": lambda: pretraining.measure(effort, hardware, device, folder, against),
            "sharing": lambda: sharing.measure(effort, hardware, device, folder),
            "augmentation": lambda: augmentation.measure(effort, folder),
            "finetuning": lambda: finetuning.measure(effort, hardware, device, folder),
            "probes": lambda: probes.measure(effort, device, folder),
            "analyses": lambda: analyses.measure(effort, threads),
            "costs": lambda: costs.measure(effort, protocol, folder),
            "memory": lambda: memory.measure(folder),
        }
        for group in groups:
            on_group(group)
            yield from measured[group]()


def machine(hardware: Hardware, threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "device": hardware_name(select_device(hardware.model_copy(update={"threads": threads}))),
        "cores": cores(),
        "precision": hardware.precision,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
    }
