"""Crop, flip and rotation of a batch in one bilinear interpolation, with separate parameters per sample."""

import torch
from torch import Tensor
from torch.nn import functional

from imssl.device import to_device


def warp(images: Tensor, crop: Tensor, flips: Tensor, angle: Tensor) -> Tensor:
    """Crop and resize to the original size, then flip, then rotate about the centre.

    torchvision interpolates twice (resize, rotate); here it is done once, so the result is slightly sharper
    where an image is both resized and rotated. Where only one of the two happens it equals torchvision's,
    borders included: no sample reaches beyond the crop, as if the crop had been cut out first, and what the
    rotation brings in from outside is zero, with a bilinear ramp of one pixel (as torchvision's functional
    without a fill; its RandomRotation applies that ramp twice).

    Args:
        images: (B, C, H, W), float32.
        crop: (B, 4), top, left, height and width in pixels, inside the image.
        flips: (B, 2), bool: flip up-down, flip left-right.
        angle: (B,), degrees, counter-clockwise.

    Returns:
        (B, C, H, W), float32, in new memory.
    """
    height, width = images.shape[-2:]
    size = torch.tensor([width, height], dtype=torch.float64)  # x comes first, as in grid_sample
    start, length = crop.double()[:, [1, 0]], crop.double()[:, [3, 2]]
    direction = 1 - 2 * flips.double()[:, [1, 0]]
    turn = torch.deg2rad(angle.double())[:, None]
    cos, sin = torch.cos(turn), torch.sin(turn)

    # Where each output pixel lies in the view before rotation, in pixels from the centre:
    # a part by column (B, 2, 1, W) plus a part by row (B, 2, H, 1).
    x, y = torch.arange(width) - (width - 1) / 2, torch.arange(height) - (height - 1) / 2
    columns = torch.cat([cos, sin], dim=1)[:, :, None, None] * x
    rows = torch.cat([-sin, cos], dim=1)[:, :, None, None] * y[:, None]

    # From there to grid_sample's coordinates, which run from -1 to 1 over the image's outer borders.
    scale = direction * 2 * length / size**2
    centre = (2 * start + length) / size - 1
    reach = (length - 1) / size  # from the crop's centre to the centre of its outermost pixel
    scale, centre, reach = (part[:, :, None, None] for part in (scale, centre, reach))
    grid = _on(images, scale * columns + centre) + _on(images, scale * rows)
    torch.maximum(grid, _on(images, centre - reach), out=grid)
    torch.minimum(grid, _on(images, centre + reach), out=grid)
    warped = functional.grid_sample(images, grid.permute(0, 2, 3, 1), mode="bilinear", align_corners=False)
    if angle.any():
        # How far each pixel lies inside the view before rotation, along x and y, as a negative number:
        # -1 inside, 0 outside, a ramp of one pixel between. In their product the signs cancel.
        border = _on(images, (size + 1) / 2)[:, None, None]
        inside = (_on(images, columns) + _on(images, rows)).abs_().sub_(border).clamp_(-1, 0)
        warped.mul_(inside[:, :1].mul_(inside[:, 1:]))
    return warped


def _on(images: Tensor, coordinates: Tensor) -> Tensor:
    return to_device(coordinates.to(images.dtype), images.device)
