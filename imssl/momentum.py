"""The momentum (EMA) copy of a network (He et al. 2020, eq. 2)."""

import copy
import math
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def momentum_copy(module: M) -> M:
    """An equal copy without gradient, which :func:`momentum_update` lets follow the original."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def momentum_update(follower: nn.Module, leader: nn.Module, momentum: float) -> None:
    """Move every weight: follower = momentum * follower + (1 - momentum) * leader.

    Running statistics of batch norm are left alone: the follower keeps those of the images it has seen.
    """
    torch._foreach_lerp_(list(follower.parameters()), list(leader.parameters()), 1 - momentum)


def cosine_momentum(base: float, progress: float) -> float:
    """A momentum that rises from ``base`` to 1 over the run (Grill et al. 2020, section 3.3).

    Args:
        base: at the beginning, in [0, 1].
        progress: share of the run that is done, in [0, 1].
    """
    return 1 - (1 - base) * (1 + math.cos(math.pi * progress)) / 2
