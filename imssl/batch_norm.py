"""Batch norm that can treat one batch as several, as several GPUs would."""

import torch
from torch import Tensor, nn

# Of a lone image on a 1x1 map nothing is left once its mean is taken off, and of two images every channel
# becomes +1 and -1, whatever was in it.
FEWEST_IMAGES = 3


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over each of ``splits`` equal parts of the batch (He et al. 2020, section 3.3).

    MoCo shuffles the keys over GPUs so that a query and its key are not normalised with the same
    images; on one device the parts of the batch stand for the GPUs. With ``splits = 1``, which every encoder
    has unless a method asks for more, and always in eval mode, this is plain batch norm.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.splits = 1

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W); with fewer splits if B cannot be divided into as many."""
        splits = usable_splits(len(input), self.splits)
        if not self.training or splits == 1:
            return super().forward(input)
        # One update of `momentum` spread over the parts, so that the running statistics move as far
        # in a step as they would without splits.
        momentum = (self.momentum or 0.0) / splits
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        parts = [
            nn.functional.batch_norm(
                part, self.running_mean, self.running_var, self.weight, self.bias, True, momentum, self.eps
            )
            for part in input.chunk(splits)
        ]
        return torch.cat(parts)


def usable_splits(batch: int, splits: int) -> int:
    """The most equal parts of a batch, at most ``splits``, with at least three images in each."""
    possible = range(1, splits + 1)
    return max((n for n in possible if batch % n == 0 and batch // n >= FEWEST_IMAGES), default=1)


def set_batch_norm_splits(module: nn.Module, splits: int) -> None:
    """Make every batch norm of an encoder work on ``splits`` parts of the batch."""
    for layer in module.modules():
        if isinstance(layer, SplitBatchNorm2d):
            layer.splits = splits
