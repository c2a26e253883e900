"""One pretraining on several processes, with the numbers of a single one.

Every process is given the whole batch, makes the same draws and computes the same loss. What takes the time
is shared out: each process augments its equal part of the images and sends its part alone through the
encoders; features are put together again, with a gradient. So a method's file knows nothing of this: its
negatives, its statistics over the batch, its queue and its shuffle are those of the whole batch on every
process, and its heads, which are small beside an encoder, are computed by all of them alike.

The gradient is averaged over the processes (torch's DistributedDataParallel), as of a loss that is the mean
of all processes' losses. By that convention the gradient of what is put together is the *sum* of what all
processes have to say of a process's part (:func:`gather`). To leave the sum out, or to add up losses with a
plain all-reduce, would give a gradient that is off by the number of processes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from imssl.errors import UserError

# Longer than what a single process may do while the others wait: read a data set, score an encoder.
TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Processes:
    """The processes that train together.

    Attributes:
        number: of them all.
        rank: of this one, from 0.
        normalise_apart: whether batch norm keeps to a process's part of the batch, instead of the whole.
        micro_batches: equal parts in which a process sends its own through an encoder, one after another.
    """

    number: int = 1
    rank: int = 0
    normalise_apart: bool = False
    micro_batches: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and reports progress."""
        return self.rank == 0

    @property
    def batch_norm_is_split(self) -> bool:
        """Whether batch norm sees a part of the batch only, whatever a method asks for."""
        return self.normalise_apart or self.micro_batches > 1

    def can_share(self, rows: int) -> bool:
        """Whether so many rows can be dealt out in equal parts, and there is somebody to share with."""
        return self.number > 1 and rows % self.number == 0

    def encodes_in_parts(self, rows: int) -> bool:
        """Whether an encoder is given a batch of so many rows in parts."""
        parts = self.number * self.micro_batches
        return parts > 1 and rows % parts == 0


_joined = Processes()
# Within the first pass of a part through an encoder, and within the one that the gradient makes again.
_in_part: ContextVar[bool] = ContextVar("in_part", default=False)
_again: ContextVar[bool] = ContextVar("again", default=False)


def processes() -> Processes:
    """The processes that train together: this one alone, unless it has :func:`joined` others."""
    return _joined


@contextmanager
def joined(device: torch.device, normalise_apart: bool = False, store: dist.Store | None = None,
           number: int | None = None, rank: int | None = None) -> Iterator[Processes]:  # fmt: skip
    """Train together with the other processes in the block.

    Args:
        device: of this process: NCCL joins GPUs, Gloo CPUs.
        normalise_apart: see :class:`Processes`.
        store: where the processes meet; torchrun says it where it is not given, and so are the next two.
        number: of processes.
        rank: of this one.
    """
    global _joined
    # Gloo beside NCCL, for the few numbers that never were on a GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    place: dict[str, Any] = {} if store is None else {"store": store, "world_size": number, "rank": rank}
    dist.init_process_group(backend, timeout=TIMEOUT, **place)
    # Who has nothing to exchange may leave at once: not while others still connect to it.
    dist.barrier()
    _joined = Processes(dist.get_world_size(), dist.get_rank(), normalise_apart)
    try:
        yield _joined
    finally:
        _joined = Processes()
        dist.destroy_process_group()


@contextmanager
def in_micro_batches(number: int) -> Iterator[None]:
    """In the block encoders are given a process's part of a batch in so many equal parts."""
    global _joined
    before, _joined = _joined, replace(_joined, micro_batches=number)
    try:
        yield
    finally:
        _joined = before


def share(rows: Tensor) -> Tensor:
    """This process's equal part of the rows of a batch, (B, ...) to (B / processes, ...).

    All rows come back where there is one process.

    Raises:
        ValueError: the rows cannot be dealt out in equal parts.
    """
    number = _joined.number
    if len(rows) % number:
        raise ValueError(f"{len(rows)} rows cannot be dealt out to {number} processes in equal parts")
    part = len(rows) // number
    return rows[_joined.rank * part : (_joined.rank + 1) * part]


def gather(part: Tensor) -> Tensor:
    """The parts of all processes as one batch, the same on every process, with the right gradient.

    For a method's own network that is large, and treats each image by itself (batch norm in it would see a
    part of the batch)::

        decoded = gather(self.decoder(share(maps)))

    Its gradient at a process's part is the sum over all processes, as :mod:`imssl.distributed` explains; with
    the mean of :func:`averaged` over all processes, it is that of one process with the whole batch.

    Args:
        part: (B / processes, ...), of the same shape on every process, in the order of :func:`share`.

    Returns:
        (B, ...); ``part`` itself where there is one process.
    """
    return part if _joined.number == 1 else _Gather.apply(part)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        part = part.contiguous()
        whole = part.new_empty((_joined.number * len(part), *part.shape[1:]))
        dist.all_gather(list(whole.chunk(_joined.number)), part)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return share(total)


def summed(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, without gradient, in new memory."""
    total = tensor.detach().clone()
    if _joined.number > 1:
        dist.all_reduce(total)
    return total


def agreed(*answers: bool) -> tuple[bool, ...]:
    """The first process's answers, on every process; all processes must ask at the same point."""
    if _joined.number == 1:
        return answers
    first = torch.tensor(answers, dtype=torch.uint8)
    dist.broadcast(first, src=0)
    return tuple(map(bool, first.tolist()))


@contextmanager
def in_part() -> Iterator[None]:
    """In the block a network is given this process's part of a batch, of which batch norm has to know."""
    token = _in_part.set(True)
    try:
        yield
    finally:
        _in_part.reset(token)


def is_in_part() -> bool:
    """Whether a network is being given a part of the batch only."""
    return _in_part.get()


@contextmanager
def again() -> Iterator[None]:
    """In the block a network computes what it has computed before: its running statistics rest."""
    token = _again.set(True)
    try:
        yield
    finally:
        _again.reset(token)


def is_again() -> bool:
    """Whether a network computes what it has computed before."""
    return _again.get()


def averaged(module: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose results have their gradient averaged over all processes by the backward pass.

    Args:
        module: whose weights get the gradient; they become those of the first process on every one.
        function: of its arguments, with the module's weights.

    Returns:
        A function to keep until its results have had their backward pass; ``function`` itself where there is
        one process.
    """
    if _joined.number == 1:
        return function
    # Weights without a gradient are looked for in every step, as a method may leave some out in some steps;
    # with that, gradients are summed in the same order in every step, before and after a resume.
    return DistributedDataParallel(_Function(module, function), find_unused_parameters=True)


class _Function(nn.Module):
    """A function as a module; its own are the weights alone, as every process computes the state alike."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weight for weight in module.parameters() if weight.requires_grad)
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def refuse_uneven_shares(batch_size: int, micro_batches: int) -> None:
    """Raise UserError where a batch cannot be dealt out to the processes, and to their micro-batches."""
    shares = _joined.number * micro_batches
    if batch_size % shares:
        among = f"hardware.devices = {_joined.number}"
        if micro_batches > 1:
            among += f" and hardware.micro_batches = {micro_batches}"
        raise UserError(
            f"pretrain.batch_size = {batch_size} cannot be dealt out to {among} in equal shares. Set it to a "
            f"multiple of {shares}."
        )


def refuse_drift(digest: str) -> None:
    """See that all processes that trained together have come to the same weights.

    Args:
        digest: of the weights of this one, 64 hexadecimal digits.

    Raises:
        RuntimeError: they have not, so there is no telling which of them is right.
    """
    number = torch.tensor([int(digest[place : place + 8], 16) for place in range(0, 64, 8)])
    if not torch.equal(summed(number), number * _joined.number):
        raise RuntimeError("the processes that trained together have come to different weights")
