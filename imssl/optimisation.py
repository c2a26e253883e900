"""SGD as the protocol sets it, its schedule, and groups of weights that an optimiser treats alike."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from imssl.settings.pretraining import Optimisation


def learning_rate_factor(optimisation: Optimisation, progress: float) -> float:
    """Share of the full learning rate after a share of the run.

    Args:
        optimisation: schedule and warm-up.
        progress: share of the run that is done, in [0, 1).
    """
    if progress < optimisation.warmup:
        return progress / optimisation.warmup
    if optimisation.schedule == "constant":
        return 1.0
    after_warmup = (progress - optimisation.warmup) / (1 - optimisation.warmup)
    return (1 + math.cos(math.pi * after_warmup)) / 2


def sgd(weights: Sequence[Tensor] | Sequence[dict[str, Any]], optimisation: Optimisation) -> torch.optim.SGD:
    """SGD with momentum, as the protocol sets it.

    Args:
        weights: to optimise, or groups of them; what a group does not set itself is the protocol's.
        optimisation: learning rate, momentum and weight decay.
    """
    # Not the fused step, which is 2 to 4% faster: without a word it misreads a gradient whose memory order is
    # not its weight's, and it refuses a weight whose gradient comes later than the others'.
    return torch.optim.SGD(
        weights,
        lr=optimisation.learning_rate,
        momentum=optimisation.momentum,
        weight_decay=optimisation.weight_decay,
        foreach=True,
    )


def weight_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: weight decay on kernels and matrices, none on biases and norms.

    Args:
        module: whose weights that need a gradient are grouped.
        weight_decay: of the first group; the second one has 0.
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    return [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
