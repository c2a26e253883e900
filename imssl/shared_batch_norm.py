"""Batch norm over a batch that is dealt out to several processes (Ioffe and Szegedy 2015, algorithm 1).

torch's own SyncBatchNorm runs on GPUs only, and knows of no parts of a batch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imssl.distributed import is_again, processes, summed


def normalise_shared(layer: nn.BatchNorm2d, maps: Tensor, parts: int) -> Tensor:
    """What a batch norm in training makes of this process's share of a batch.

    The batch is normalised in equal parts, each by its own mean and variance, wherever their images are. The
    running statistics move as they do in one process, and are the same in all of them.

    Args:
        layer: its running statistics are updated.
        maps: (b, C, H, W), this process's share of B = processes * b images, which are the whole batch, or a
            micro-batch.
        parts: of the whole batch; they divide B.

    Returns:
        (b, C, H, W).
    """
    slices = _parts_of_share(len(maps), parts)
    counts, means, variances = _statistics(maps, slices, parts)
    if not is_again():
        _update(layer, means, variances * (counts / (counts - 1)))
    return _Normalise.apply(maps, layer.weight, layer.bias, means, variances, counts, slices, layer.eps)


def _update(layer: nn.BatchNorm2d, means: Tensor, variances: Tensor) -> None:
    """Move the running statistics by those of all parts, (P, C) each."""
    if layer.running_mean is None or layer.running_var is None:
        return
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
    # One update of `momentum` spread over the parts of a step, as in SplitBatchNorm2d.
    momentum = (layer.momentum or 0.0) / (len(means) * processes().micro_batches)
    for mean, variance in zip(means, variances, strict=True):
        layer.running_mean.lerp_(mean, momentum)
        layer.running_var.lerp_(variance, momentum)


Slices = dict[int, slice]


def _parts_of_share(share: int, parts: int) -> Slices:
    """Which parts of the batch lie in this process's share, and which of its rows they take."""
    size = processes().number * share // parts
    first = processes().rank * share
    slices = {}
    for part in range(first // size, (first + share - 1) // size + 1):
        slices[part] = slice(max(part * size - first, 0), min((part + 1) * size - first, share))
    return slices


@torch.no_grad()
def _statistics(maps: Tensor, slices: Slices, parts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count (P, 1), mean and biased variance (P, C) of each part, over all processes; float32 or wider."""
    channels, pixels = maps.shape[1], maps.shape[2] * maps.shape[3]
    wide = torch.float32 if maps.dtype in (torch.bfloat16, torch.float16) else maps.dtype
    counts = maps.new_zeros((parts, 1), dtype=wide)
    means, variances = maps.new_zeros((2, parts, channels), dtype=wide)
    for part, rows in slices.items():
        counts[part] = (rows.stop - rows.start) * pixels
        variances[part], means[part] = torch.var_mean(maps[rows].to(wide), dim=(0, 2, 3), correction=0)
    # The mean first, then squares about it: no difference of large sums, so nothing cancels.
    totals = summed(torch.cat([counts, counts * means], dim=1))
    whole_counts, whole_means = totals[:, :1], totals[:, 1:] / totals[:, :1]
    squares = summed(counts * (variances + (means - whole_means).square()))
    return whole_counts, whole_means, squares / whole_counts


class _Normalise(torch.autograd.Function):
    """The affine normalisation, with a gradient that goes through the statistics of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        means: Tensor,
        variances: Tensor,
        counts: Tensor,
        slices: Slices,
        epsilon: float,
    ) -> Tensor:
        ctx.save_for_backward(maps, weight, means, variances, counts)
        ctx.slices, ctx.epsilon = slices, epsilon
        return torch.cat(
            [
                F.batch_norm(maps[rows], means[part], variances[part], weight, bias, False, 0.0, epsilon)
                for part, rows in slices.items()
            ]
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, means, variances, counts = ctx.saved_tensors
        of_output = gradients[0].to(means.dtype)
        deviations = (variances + ctx.epsilon).sqrt()
        sums, products = torch.zeros_like(means), torch.zeros_like(means)  # of gradients, over each part
        for part, rows in ctx.slices.items():
            standardised = _affine(maps[rows], -means[part], deviations[part])
            sums[part] = of_output[rows].sum(dim=(0, 2, 3))
            products[part] = (of_output[rows] * standardised).sum(dim=(0, 2, 3))
        # Not summed: they are averaged over the processes with the gradients of all other weights.
        of_weight, of_bias = products.sum(dim=0), sums.sum(dim=0)
        sums, products = summed(torch.stack([sums, products])) / counts
        of_maps = []
        for part, rows in ctx.slices.items():
            standardised = _affine(maps[rows], -means[part], deviations[part])
            through_statistics = sums[part][:, None, None] + standardised * products[part][:, None, None]
            scale = (weight / deviations[part])[:, None, None]
            of_maps.append(scale * (of_output[rows] - through_statistics))
        return torch.cat(of_maps).to(maps.dtype), of_weight, of_bias, None, None, None, None, None


def _affine(maps: Tensor, shift: Tensor, divisor: Tensor) -> Tensor:
    """(maps + shift) / divisor, channel by channel."""
    return (maps + shift[:, None, None]) / divisor[:, None, None]
