"""Runs all groups of benchmarks, one after another."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench.machine.system import cores
from bench.perf.groups import (
    analyses,
    augmentation,
    costs,
    finetuning,
    gpu_sharing,
    memory,
    pretraining,
    probes,
)
from bench.perf.timing import Effort, PerfRow
from bench.protocol.protocol import Protocol
from imssl.device import hardware_name, select_device
from imssl.errors import UserError
from imssl.settings.hardware import Hardware

GROUPS = ("pretraining", "sharing", "augmentation", "finetuning", "probes", "analyses", "costs")
# Measured only if named: it writes 5.6 GB and takes minutes.
ON_REQUEST = ("memory",)


def measure(
    effort: Effort,
    protocol: Protocol,
    threads: int,
    against: str | None,
    groups: tuple[str, ...],
    on_group: Callable[[str], None],
) -> Iterator[PerfRow]:
    """Measure the groups.

    Args:
        effort: how much to measure.
        protocol: of the current folder; its device and precision are used, and its report is timed.
        threads: for torch and NumPy's BLAS.
        against: ``lightly`` to measure it as well, or None.
        groups: names from `GROUPS` and `ON_REQUEST`.
        on_group: called with the name of each group before it is measured.

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
        measured: dict[str, Callable[[], Iterator[PerfRow]]] = {
            "pretraining": lambda: pretraining.measure(effort, hardware, device, folder, against),
            "sharing": lambda: gpu_sharing.measure(effort, hardware, device, folder),
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


def describe_machine(hardware: Hardware, threads: int) -> dict[str, Any]:
    """What the benchmarks run on: device, cores, precision, versions of Python and torch, load."""
    return {
        "device": hardware_name(select_device(hardware.model_copy(update={"threads": threads}))),
        "cores": cores(),
        "precision": hardware.precision,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
    }
