"""Gaussian blur of a batch, with a standard deviation of its own for every sample."""

from functools import lru_cache

import torch
from torch import Tensor

from imssl.device import to_device


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur each image with a separable Gaussian of 2 * radius + 1 taps and reflected borders.

    Each axis is one batched product with a banded matrix per sample: at the sizes of this suite that is
    cheaper than a convolution with a kernel per sample (up to 128 pixels; at 224 it costs twice as much), and
    the reflection is part of the matrix.

    Args:
        images: (B, C, H, W), float32.
        sigma: (B,), standard deviations in pixels, > 0.
        radius: taps on each side; an axis of n pixels uses n - 1 at most.

    Returns:
        (B, C, H, W), float32, in new memory.
    """
    batch, channels, height, width = images.shape
    sigma = to_device(sigma, images.device)
    across = _blur_matrices(sigma, width, radius).transpose(1, 2)
    down = _blur_matrices(sigma, height, radius).repeat_interleave(channels, dim=0)
    blurred = torch.bmm(images.reshape(batch, channels * height, width), across)
    return torch.bmm(down, blurred.view(batch * channels, height, width)).view_as(images)


def _blur_matrices(sigma: Tensor, size: int, radius: int) -> Tensor:
    """Matrices (B, size, size) whose product with a column of pixels is the blurred column."""
    radius = min(radius, size - 1)
    distance = torch.arange(radius + 1, device=sigma.device)
    taps = torch.exp(-0.5 * (distance / sigma[:, None]) ** 2)
    # Far taps of a small sigma are denormal numbers, which slow the products tenfold.
    taps.masked_fill_(taps < 1e-10, 0)
    taps = taps / (2 * taps.sum(dim=1, keepdim=True) - taps[:, :1])
    return (taps @ _reflections(size, radius, sigma.device)).view(-1, size, size)


@lru_cache(maxsize=16)
def _reflections(size: int, radius: int, device: torch.device) -> Tensor:
    """How often output pixel i meets input pixel j at each distance (0, 1 or 2 times).

    Returns:
        (radius + 1, size * size), float32, on the device; shared between calls, so not to be written to.
    """
    meetings = torch.zeros(radius + 1, size, size)
    pixel = torch.arange(size)
    for offset in range(-radius, radius + 1):
        # Reflection without repeating the border pixel: -1 -> 1, size -> size - 2.
        met = (size - 1) - ((size - 1) - (pixel + offset).abs()).abs()
        meetings[abs(offset), pixel, met] += 1
    return meetings.view(radius + 1, size * size).to(device)
