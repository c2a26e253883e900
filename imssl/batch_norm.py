"""Batch norm: one batch treated as several, as on several GPUs, and statistics filled from all images."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

from imssl.distributed import is_in_part, processes
from imssl.shared_batch_norm import normalise_shared

# Of a lone image on a 1x1 map nothing is left once its mean is taken off, and of two images every channel
# becomes +1 and -1, whatever was in it.
FEWEST_IMAGES = 3


class SplitsBatch:
    """Marks a batch norm that can treat a batch as several.

    Attributes:
        splits: into how many equal parts.
    """

    splits: int = 1


class SplitBatchNorm2d(nn.BatchNorm2d, SplitsBatch):
    """Batch norm over each of ``splits`` equal parts of the batch (He et al. 2020, section 3.3).

    MoCo shuffles the keys over GPUs so that a query and its key are not normalised with the same
    images; on one device the parts of the batch stand for the GPUs. With ``splits = 1``, which every encoder
    has unless a method asks for more, and always in eval mode, this is plain batch norm. Where a batch is
    dealt out to several processes, its parts stay what they are in one.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W); with fewer splits if B cannot be divided into as many."""
        if self.training and is_in_part():
            return normalise_shared(self, input, shared_splits(len(input), self.splits))
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


def shared_splits(share: int, splits: int) -> int:
    """The parts of a batch of which this process has a share: as in one process, or a process's own.

    Args:
        share: images that a layer is given by this process, which may be a micro-batch of its share.
        splits: of the whole batch that are asked for.

    Returns:
        :func:`usable_splits` of what all processes give the layer; where they normalise apart, of so many
        splits that none has to reach into two processes, if that leaves enough images in each.
    """
    together = processes()
    splits = -(-splits // together.micro_batches)
    if together.normalise_apart:
        splits = -(-splits // together.number) * together.number
    return usable_splits(share * together.number, splits)


def set_batch_norm_splits(module: nn.Module, splits: int) -> None:
    """Make every batch norm of an encoder work on ``splits`` parts of the batch."""
    for layer in module.modules():
        if isinstance(layer, SplitsBatch):
            layer.splits = splits


def has_batch_norm(module: nn.Module) -> bool:
    """Whether there is anything to fill; most transformers, and ConvNeXt, normalise each image by itself."""
    return any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


def running_statistics(module: nn.Module) -> dict[str, Tensor]:
    """Copies of the running means and variances of batch norm, by their names in the module's state."""
    return {
        name: tensor.clone()
        for name, tensor in module.state_dict().items()
        if name.endswith(("running_mean", "running_var"))
    }


Batches = Callable[[], Iterable[Tensor]]


@torch.no_grad()
def fill_batch_norm(parts: Sequence[nn.Module], batches: Batches, room: int) -> None:
    """Set the running mean and variance of every batch norm of an encoder to those of all images.

    Running averages hold the latest steps of training, and before any they are 0 and 1; here every image
    counts alike. In eval mode the encoder then gives the features that one batch of all images would have in
    training mode, and the size of the batches moves nothing but rounding. For that the layers are filled one
    after another, from input to output: while a layer is measured, those before it are in eval mode and
    already filled, so that what it receives of an image does not depend on the rest of the batch. Means and
    squares are merged from batch to batch in float64.

    What a part makes of all images is kept for the next part where there is room for it, and is made again
    for each layer where there is not. With room it takes about as long as three forward passes, without any
    as ten to sixteen (ResNet-18) or thirty (ResNet-50).

    Args:
        parts: the encoder as modules that are run one after another, on the device.
        batches: gives all images anew at each call, (B, C, H, W) on the device.
        room: bytes that the maps between two parts may take.
    """
    were_training = [part.training for part in parts]
    for part in parts:
        part.eval()
    for part in parts:
        for layer in _batch_norms_in_order_of_use(part, next(iter(batches()))[:1]):
            _fill(layer, part, batches())
        batches = _passed_on(part, batches, room)
    for part, was_training in zip(parts, were_training, strict=True):
        part.train(was_training)


def _fill(layer: nn.BatchNorm2d, part: nn.Module, batches: Iterable[Tensor]) -> None:
    moments = _Moments()
    hook = layer.register_forward_pre_hook(moments.measure)
    for maps in batches:
        with suppress(_Measured):
            part(maps)
    hook.remove()
    if layer.running_mean is not None and layer.running_var is not None:
        layer.running_mean.copy_(moments.mean)
        layer.running_var.copy_(moments.squares / moments.count)


class _Measured(Exception):
    """Ends a forward pass at the layer that it was made for."""


class _Moments:
    """Mean and summed squared deviation of what a layer receives, by channel, merged from batch to batch."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros(1, dtype=torch.float64)

    def measure(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Take in one batch of maps (B, C, H, W), and go no further; a forward hook."""
        (maps,) = inputs
        count = maps.numel() // maps.shape[1]
        variance, mean = (m.double().cpu() for m in torch.var_mean(maps, dim=(0, 2, 3), correction=0))
        # Chan, Golub and LeVeque (1983): no difference of large sums, so nothing cancels.
        total = self.count + count
        shift = mean - self.mean
        self.squares = self.squares + variance * count + shift**2 * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total
        raise _Measured


def _batch_norms_in_order_of_use(part: nn.Module, maps: Tensor) -> list[nn.BatchNorm2d]:
    used: list[nn.BatchNorm2d] = []
    norms = [layer for layer in part.modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(lambda layer, _: used.append(layer)) for layer in norms]
    part(maps)
    for hook in hooks:
        hook.remove()
    return used


def _passed_on(part: nn.Module, batches: Batches, room: int) -> Batches:
    """What a part makes of all batches: kept where there is room, otherwise made again at each call."""
    kept: list[Tensor] = []
    for maps in batches():
        kept.append(part(maps))
        room -= kept[-1].nbytes
        if room < 0:
            kept.clear()
            return lambda: map(part, batches())
    return lambda: kept
