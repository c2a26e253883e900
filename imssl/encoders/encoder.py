"""What an encoder is to the rest of the suite: four blocks of features, whatever is inside."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from imssl.distributed import again, gather, in_part, processes, share


@dataclass(frozen=True)
class Features:
    """What an encoder returns for a batch.

    Attributes:
        blocks: outputs of blocks 1 to 4, each (B, C_i, H_i, W_i).
        vectors: what stands for each block as a whole, each (B, C_i), where that is not the mean of its map:
            a transformer's class token, for example. None where it is.
    """

    blocks: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...] | None = None

    def block(self, number: int) -> Tensor:
        """Feature map of block 1, 2, 3 or 4, (B, C, H, W)."""
        return self.blocks[number - 1]

    def pooled(self, number: int) -> Tensor:
        """One block's features of each image as a whole, (B, C): globally averaged, or the class token."""
        return self.block(number).mean(dim=(2, 3)) if self.vectors is None else self.vectors[number - 1]

    def averaged(self, number: int, side: int) -> Tensor:
        """One block's map, average-pooled to (B, C, side, side) in float32; smaller maps stay as they are."""
        maps = self.block(number).float()
        side = min(side, maps.shape[-1])
        # The gradient of torch's own on a GPU depends on the order of its sums, so torch refuses it here.
        return F.adaptive_avg_pool2d(maps, side) if maps.device.type == "cpu" else area_means(maps, side)

    @property
    def embedding(self) -> Tensor:
        """The last block's features of each image, (B, C): what a head or classifier reads."""
        return self.pooled(len(self.blocks))

    def reordered(self, index: Tensor) -> "Features":
        """The same features with the images in another order.

        Args:
            index: (B,) int64, the present place of each image of the new order.
        """
        vectors = self.vectors and tuple(vector[index] for vector in self.vectors)
        return Features(tuple(block[index] for block in self.blocks), vectors)


def area_means(maps: Tensor, side: int) -> Tensor:
    """What ``adaptive_avg_pool2d`` gives, by matrix products, whose gradient is the same on every run.

    Args:
        maps: (B, C, H, W) float32.
        side: of the result, (B, C, side, side).
    """
    rows, columns = (_shares(length, side).to(maps) for length in maps.shape[2:])
    return rows @ maps @ columns.T


def _shares(length: int, parts: int) -> Tensor:
    """(parts, length): by which each place enters the mean of each part; parts overlap where they must."""
    places, part = torch.arange(length), torch.arange(parts)[:, None]
    within = (places >= part * length // parts) & (places < -(-(part + 1) * length // parts))
    return within / within.sum(dim=1, keepdim=True)


class SharedFeatures(Features):
    """Features of a batch whose images are dealt out to several processes.

    They are put together where they are read, as the maps of early blocks are large and few methods read
    them: every process must read the same ones in the same order.

    Args:
        share: the features of this process's images.
        order: (B,) int64, as for `reordered`; None where the images have not been put in another order.
    """

    def __init__(self, share: Features, order: Tensor | None = None) -> None:
        object.__setattr__(self, "share", share)
        object.__setattr__(self, "order", order)

    share: Features
    order: Tensor | None

    @property
    def blocks(self) -> tuple[Tensor, ...]:
        """Outputs of blocks 1 to 4, each (B, C_i, H_i, W_i)."""
        return tuple(self.block(number) for number in range(1, len(self.share.blocks) + 1))

    @property
    def vectors(self) -> tuple[Tensor, ...] | None:
        """As in `Features`."""
        return self.share.vectors and tuple(map(self._whole, self.share.vectors))

    def block(self, number: int) -> Tensor:
        """Feature map of block 1, 2, 3 or 4, (B, C, H, W)."""
        return self._whole(self.share.block(number))

    def pooled(self, number: int) -> Tensor:
        """One block's features of each image as a whole, (B, C)."""
        return self._whole(self.share.pooled(number))

    def averaged(self, number: int, side: int) -> Tensor:
        """One block's map, average-pooled to (B, C, side, side) in float32."""
        return self._whole(self.share.averaged(number, side))

    @property
    def embedding(self) -> Tensor:
        """The last block's features of each image, (B, C)."""
        return self.pooled(len(self.share.blocks))

    def reordered(self, index: Tensor) -> "SharedFeatures":
        """The same features with the images in another order."""
        return SharedFeatures(self.share, index if self.order is None else self.order[index])

    def _whole(self, part: Tensor) -> Tensor:
        whole = gather(part)
        return whole if self.order is None else whole[self.order]


class Encoder(nn.Module):
    """Base of the encoders; a subclass sets the attributes and writes ``stride``, ``parts`` and ``forward``.

    Where several processes train together, each sends its share of the images through, in training mode; in
    eval mode, in which images do not depend on one another, all of them encode everything.

    Attributes:
        channels: 1 for grey images, 3 for colour.
        block_widths: channels of blocks 1 to 4.
    """

    channels: int
    block_widths: tuple[int, ...]

    @property
    def width(self) -> int:
        """Channels of the embedding."""
        return self.block_widths[-1]

    @property
    def stride(self) -> int:
        """Pixels from one position of the last block's map to the next: S pixels become ceil(S / stride)."""
        raise NotImplementedError  # every encoder writes its own

    @property
    def parts(self) -> list[nn.Module]:
        """The modules that are run one after another; the first takes images, and each gives a tensor."""
        raise NotImplementedError  # every encoder writes its own

    def on_its_grid(self, name: str, weight: Tensor) -> Tensor | None:
        """A weight of another model of this family, resampled to this encoder's grid of places.

        Args:
            name: in the state of the encoder.
            weight: whose shape is not the encoder's.

        Returns:
            The weight in the encoder's shape; None where it has no grid, or cannot be brought to it.
        """
        return None

    def __call__(self, images: Tensor) -> Features:
        """Features of normalised images (B, C, H, W), float32."""
        if not (self.training and processes().encodes_in_parts(len(images))):
            return super().__call__(images)
        parts = share(images).chunk(processes().micro_batches)
        if len(parts) == 1:
            return SharedFeatures(self._of_part(parts[0]))
        return SharedFeatures(_joined([_made_again(self._of_part, part) for part in parts]))

    def _of_part(self, images: Tensor) -> Features:
        with in_part():
            return super().__call__(images)

    def forward(self, images: Tensor) -> Features:
        """What `__call__` gives of the images of this process; a subclass writes it."""
        raise NotImplementedError  # every encoder writes its own


def _joined(parts: Sequence[Features]) -> Features:
    """Features of parts of a batch as those of the batch."""
    blocks = tuple(map(torch.cat, zip(*(part.blocks for part in parts), strict=True)))
    if parts[0].vectors is None:
        return Features(blocks)
    return Features(blocks, tuple(map(torch.cat, zip(*(part.vectors or () for part in parts), strict=True))))


def _made_again(encode: Callable[[Tensor], Features], images: Tensor) -> Features:
    """Features of images; the maps that led to them are forgotten, and made again for the gradient."""
    return checkpoint(
        encode, images, use_reentrant=False, preserve_rng_state=False, context_fn=_first_and_again
    )


def _first_and_again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), again()
