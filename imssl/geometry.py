"""Crop, flip and rotation of a batch in one bilinear interpolation, with separate parameters per sample.

A view's :class:`Geometry` says where in the image each of its places comes from, so that the places of two
views of an image can be matched.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from imssl.device import to_device


@dataclass(frozen=True)
class Geometry:
    """Where each place of a batch of views lies in the images that they were made from; all on the CPU.

    Coordinates are x then y, as in grid_sample, in pixels from the upper left corner: the centre of the first
    pixel is (0.5, 0.5).

    Attributes:
        crop: (B, 4), int64: top, left, height, width in pixels of the image.
        flips: (B, 2), bool: up-down, left-right.
        angle: (B,), float32: degrees, counter-clockwise.
        image_size: height and width of the images, in pixels.
        view_size: height and width of the views, in pixels.
    """

    crop: Tensor
    flips: Tensor
    angle: Tensor
    image_size: tuple[int, int]
    view_size: tuple[int, int]

    def __getitem__(self, rows: slice) -> "Geometry":
        """The geometry of some of the samples."""
        return Geometry(self.crop[rows], self.flips[rows], self.angle[rows], self.image_size, self.view_size)

    def in_image(self, places: Tensor) -> Tensor:
        """Where places of the views lie in the images.

        Args:
            places: (P, 2), in pixels of the view; the same for every sample.

        Returns:
            (B, P, 2) float64, in pixels of the image; outside it where the rotation has brought in black.
        """
        start, length = self.crop.double()[:, [1, 0]], self.crop.double()[:, [3, 2]]
        direction = 1 - 2 * self.flips.double()[:, [1, 0]]
        scale = direction * length / _size_xy(self.view_size)
        return (start + length / 2)[:, None] + scale[:, None] * self._before_rotation(places)

    def shows(self, places: Tensor) -> Tensor:
        """Whether the views show the image at places (P, 2), and not what the rotation has brought in.

        Returns:
            (B, P), bool.
        """
        half = _size_xy(self.view_size) / 2
        # A view that is not rotated shows its border too, which rounding may put outside.
        return (self._before_rotation(places).abs() <= half + 1e-6).all(dim=-1)

    def _before_rotation(self, places: Tensor) -> Tensor:
        """Places (P, 2) as they lay before the view was rotated, from its centre: (B, P, 2)."""
        x, y = (places.double() - _size_xy(self.view_size) / 2).unbind(dim=-1)
        turn = torch.deg2rad(self.angle.double())[:, None]
        cos, sin = torch.cos(turn), torch.sin(turn)
        return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def cell_centres(view_size: tuple[int, int], rows: int, columns: int) -> Tensor:
    """The centres of the cells of a feature map that is laid over a view.

    Args:
        view_size: height and width of the view, in pixels.
        rows: height of the map.
        columns: width of the map.

    Returns:
        (rows * columns, 2) float64, row by row: x and y in pixels, for :meth:`Geometry.in_image`.
    """
    height, width = view_size
    y, x = torch.meshgrid(
        (torch.arange(rows, dtype=torch.float64) + 0.5) * height / rows,
        (torch.arange(columns, dtype=torch.float64) + 0.5) * width / columns,
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def warp(
    images: Tensor, crop: Tensor, flips: Tensor, angle: Tensor, size: tuple[int, int] | None = None
) -> Tensor:
    """Crop and resize, then flip, then rotate about the centre.

    A view that is smaller than the image is made larger by a whole factor and averaged, so that fine detail
    is not sampled away (torchvision's antialias has a triangular window instead).

    Args:
        images: (B, C, H, W), float32.
        crop: (B, 4), top, left, height and width in pixels, inside the image.
        flips: (B, 2), bool: flip up-down, flip left-right.
        angle: (B,), degrees, counter-clockwise.
        size: height h and width w of the views; that of the images where it is not given.

    Returns:
        (B, C, h, w), float32, in new memory.
    """
    height, width = size or images.shape[-2:]
    finer = math.ceil(max(images.shape[-2] / height, images.shape[-1] / width))
    if finer > 1:
        fine = _warp(images, crop, flips, angle, (finer * height, finer * width))
        return functional.avg_pool2d(fine, finer)
    return _warp(images, crop, flips, angle, (height, width))


def _warp(images: Tensor, crop: Tensor, flips: Tensor, angle: Tensor, size: tuple[int, int]) -> Tensor:
    """As :func:`warp`, without averaging.

    torchvision interpolates twice (resize, rotate); here it is done once, so the result is slightly sharper
    where an image is both resized and rotated. Where only one of the two happens it equals torchvision's,
    borders included: no sample reaches beyond the crop, as if the crop had been cut out first, and what the
    rotation brings in from outside is zero, with a bilinear ramp of one pixel (as torchvision's functional
    without a fill; its RandomRotation applies that ramp twice).
    """
    height, width = size
    view_size, image_size = _size_xy(size), _size_xy((images.shape[-2], images.shape[-1]))
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
    scale = direction * 2 * length / (view_size * image_size)
    centre = (2 * start + length) / image_size - 1
    reach = (length - 1) / image_size  # from the crop's centre to the centre of its outermost pixel
    scale, centre, reach = (part[:, :, None, None] for part in (scale, centre, reach))
    grid = _on(images, scale * columns + centre) + _on(images, scale * rows)
    torch.maximum(grid, _on(images, centre - reach), out=grid)
    torch.minimum(grid, _on(images, centre + reach), out=grid)
    warped = functional.grid_sample(images, grid.permute(0, 2, 3, 1), mode="bilinear", align_corners=False)
    if angle.any():
        # How far each pixel lies inside the view before rotation, along x and y, as a negative number:
        # -1 inside, 0 outside, a ramp of one pixel between. In their product the signs cancel.
        border = _on(images, (view_size + 1) / 2)[:, None, None]
        inside = (_on(images, columns) + _on(images, rows)).abs_().sub_(border).clamp_(-1, 0)
        warped.mul_(inside[:, :1].mul_(inside[:, 1:]))
    return warped


def _size_xy(size: tuple[int, int]) -> Tensor:
    """Height and width as width and height, (2,): x comes first, as in grid_sample."""
    height, width = size
    return torch.tensor([width, height], dtype=torch.float64)


def _on(images: Tensor, coordinates: Tensor) -> Tensor:
    return to_device(coordinates.to(images.dtype), images.device)
