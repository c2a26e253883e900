"""Colour jitter and greyscale of a batch, with separate factors and a separate order for every sample.

The operations and their constants are those of torchvision's tensor functions of the same names.
"""

import torch
from torch import Tensor

from imssl.device import to_device

# The order of the columns of a jitter's factors, and the factors that change nothing.
OPERATIONS = ("brightness", "contrast", "saturation", "hue")
NEUTRAL = (1.0, 1.0, 1.0, 0.0)

_CONTRAST, _SATURATION, _HUE = (OPERATIONS.index(name) for name in ("contrast", "saturation", "hue"))
_LUMA = (0.2989, 0.587, 0.114)


def jitter_(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue in place, for each sample in its own order.

    Args:
        images: (B, C, H, W), float32 in [0, 1]; with C = 1, saturation and hue do nothing.
        factors: (B, 4), one column per name in `OPERATIONS`, on the CPU; rows equal to `NEUTRAL` are left as
            they are.
        order: (B, 4), int64, on the CPU: each row a permutation of the four columns.

    Returns:
        The same tensor.
    """
    neutral = torch.tensor(NEUTRAL)
    if images.shape[1] == 1:
        factors = torch.cat([factors[:, :2], neutral[2:].expand(len(factors), 2)], dim=1)
    jittered = (factors != neutral).any(dim=1).nonzero().flatten()
    if len(jittered) == 0:
        return images

    # The operations other than hue are all blends. With the samples sorted by the turn at which their hue
    # changes, late ones first, a turn's blends before the hue concern the first samples, and those after it
    # the last.
    hue_turn, rank = (order[jittered] == _HUE).int().argmax(dim=1).sort(descending=True, stable=True)
    rows = jittered[rank]
    order, by_turn = order[rows], factors[rows].gather(1, order[rows])
    shift = factors[rows, _HUE]
    rest = 1 - by_turn
    weights = torch.stack([by_turn, rest * (order == _CONTRAST), rest * (order == _SATURATION)])
    weights = to_device(weights[..., None, None, None], images.device)
    rows = to_device(rows, images.device)

    chosen = images.index_select(0, rows)
    for turn in range(3):
        before = slice(int((hue_turn > turn).sum()))
        if (by_turn[before, turn] != 1).any():
            _blend_(chosen[before], *weights[:, before, turn])
    if shift.any():
        _turn_hue_(chosen, to_device(shift[:, None, None, None], images.device))
    for turn in range(1, 4):
        after = slice(int((hue_turn >= turn).sum()), None)
        if (by_turn[after, turn] != 1).any():
            _blend_(chosen[after], *weights[:, after, turn])
    return images.index_copy_(0, rows, chosen)


def grey_(images: Tensor, rows: Tensor) -> Tensor:
    """Turn the images at `rows`, int64 on the CPU, to grey in place: three equal channels of luma."""
    if images.shape[1] == 3 and len(rows):
        rows = to_device(rows, images.device)
        images.index_copy_(0, rows, luma(images.index_select(0, rows)).expand(-1, 3, -1, -1))
    return images


def luma(images: Tensor) -> Tensor:
    """Luma (ITU-R BT.601 weights as torchvision rounds them) of (B, 3, H, W): (B, 1, H, W)."""
    red, green, blue = images.split(1, dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _blend_(images: Tensor, colour: Tensor, mean_grey: Tensor, pixel_grey: Tensor) -> None:
    """Brightness, contrast or saturation, in place: a weighted sum of three images, clamped.

    Args:
        images: (B, C, H, W), float32.
        colour: (B, 1, 1, 1), weights of the images themselves.
        mean_grey: (B, 1, 1, 1), weights of their mean luma (contrast).
        pixel_grey: (B, 1, 1, 1), weights of the luma of each pixel (saturation).
    """
    if images.shape[1] == 1:
        blended = images.mean(dim=(2, 3), keepdim=True) * mean_grey
    else:
        grey = luma(images)
        mean = grey.mean(dim=(2, 3), keepdim=True)
        blended = grey.mul_(pixel_grey).add_(mean * mean_grey)
    images.mul_(colour).add_(blended).clamp_(0, 1)


def _turn_hue_(images: Tensor, shift: Tensor) -> None:
    """Turn the hue of HSV by `shift` (B, 1, 1, 1) of a full circle, at constant saturation and value.

    The six cases of the textbook reduce to two identities, without a branch or the saturation. With hue in
    sixths of the circle from -3 to 3, and channels scaled so that the least is 0 and the greatest 1:
    |hue| = 1 + green + blue - red, positive where green > blue; and back, red = 2 - |hue|,
    green = max(hue, -2 - hue), blue = max(-hue, hue - 2), each clamped to [0, 1].
    """
    red, green, blue = images.split(1, dim=1)
    least = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue).sub_(least)
    distance = (green + blue).sub_(red).sub_(least).div_(chroma.clamp_min(1e-12)).add_(1)
    hue = torch.copysign(distance, green - blue).add_(6 * shift)
    hue.sub_((hue / 6).round_(), alpha=6)
    opposite = -hue
    torch.addcmul(least, chroma, torch.maximum(hue, opposite).neg_().add_(2).clamp_(0, 1), out=red)
    torch.addcmul(least, chroma, torch.maximum(hue, opposite - 2).clamp_(0, 1), out=green)
    torch.addcmul(least, chroma, torch.maximum(opposite, hue - 2).clamp_(0, 1), out=blue)
