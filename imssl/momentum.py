"""The momentum (EMA) copy of a network (He et al. 2020, eq. 2)."""

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def momentum_copy(module: M) -> M:
    """An equal copy that gets no gradient; it follows the original by :func:`momentum_update`."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def momentum_update(follower: nn.Module, leader: nn.Module, momentum: float) -> None:
    """Move every weight: follower = momentum * follower + (1 - momentum) * leader.

    Running statistics of batch norm are left alone: the follower has seen its own images.
    """
    torch._foreach_lerp_(list(follower.parameters()), list(leader.parameters()), 1 - momentum)
