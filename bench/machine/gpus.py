"""Which GPUs this machine offers, and which of them a cell is given: no engine is needed to use them all."""

import os
from collections import Counter
from collections.abc import Iterable

from bench.protocol.cell import Cell
from bench.protocol.stage_specs import STAGES
from imssl.device_kind import device_kind, torch_uses_gpu
from imssl.settings.hardware import Hardware

VISIBLE = "CUDA_VISIBLE_DEVICES"


def offered_gpus() -> tuple[str, ...]:
    """What stands for each GPU in CUDA_VISIBLE_DEVICES: all of the machine's, or those it names already.

    They are counted without starting CUDA, so that processes may still be forked.
    """
    if not torch_uses_gpu():
        return ()
    import torch  # imported by the question above already

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return tuple(named[:count]) if named else tuple(map(str, range(count)))


def is_on_gpu(cell: Cell, hardware: Hardware) -> bool:
    """Whether a cell computes on a GPU."""
    return STAGES[cell.stage].on_device and device_kind(hardware) == "cuda"


def devices_of(cell: Cell, hardware: Hardware) -> int:
    """How many processes compute a cell together, each with threads, or a GPU, of its own."""
    return hardware.devices if cell.stage == "pretrain" else 1


def least_used(offered: tuple[str, ...], in_use: Iterable[tuple[str, ...]], number: int) -> tuple[str, ...]:
    """So many of the GPUs, those first that the fewest cells compute on.

    Args:
        offered: all of them; none is taken where none are offered.
        in_use: those of each cell that is running.
        number: that the next cell needs.
    """
    cells = Counter(gpu for gpus in in_use for gpu in gpus)
    return tuple(sorted(offered, key=lambda gpu: (cells[gpu], offered.index(gpu)))[:number])


def use_only(gpus: tuple[str, ...]) -> None:
    """Let this process, which has not started CUDA, and those that it starts see these GPUs alone."""
    if gpus:
        os.environ[VISIBLE] = ",".join(gpus)
