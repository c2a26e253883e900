"""Gaussian blur of a batch, with a separate standard deviation for every sample."""

from functools import lru_cache

import torch
from torch import Tensor

from imssl.device import to_device


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur each image with a separable Gaussian of 2 * radius + 1 taps and reflected borders.

    Each axis is one batched product with a banded matrix per sample, which includes the reflection. Up to
    128 pixels that is cheaper than a convolution with a kernel per sample; at 224 pixels it costs twice as
    much.

    Args:
        images: (B, C, H, W), float32.
        sigma: (B,), standard deviations in pixels, > 0.
        radius: taps on each side of the centre; an axis of n pixels uses at most n - 1.

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
    # With a small sigma, distant taps are denormal numbers, which make the products ten times slower.
    taps.masked_fill_(taps < 1e-10, 0)
    taps = taps / (2 * taps.sum(dim=1, keepdim=True) - taps[:, :1])
    return (taps @ _reflections(size, radius, sigma.device)).view(-1, size, size)


@lru_cache(maxsize=16)
def _reflections(size: int, radius: int, device: torch.device) -> Tensor:
    """How often output pixel i meets input pixel j at each distance (0, 1 or 2 times).

    Returns:
        (radius + 1, size * size), float32, on the device; shared between calls, so it must not be changed.
    """
    meetings = torch.zeros(radius + 1, size, size)
    pixel = torch.arange(size)
    for offset in range(-radius, radius + 1):
        # Reflection without repeating the border pixel: -1 -> 1, size -> size - 2.
        met = (size - 1) - ((size - 1) - (pixel + offset).abs()).abs()
        meetings[abs(offset), pixel, met] += 1
    return meetings.view(radius + 1, size * size).to(device)
