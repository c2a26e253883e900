"""The training images, as uint8 batches on the device."""

import numpy as np
import torch
from torch import Tensor

from imssl.device import to_device

# On the CPU, the most bytes of images that are held in memory; more are read from disk batch by batch.
HELD_IN_MEMORY = 2**30
# On a GPU, the share of its free memory; the rest is for the model, and for other cells on the same GPU.
SHARE_OF_GPU = 0.25
# Images that are transposed and sent at a time, so that a large data set is never in memory twice.
PART = 4096


class TrainingImages:
    """Rows of a memory-mapped array, held on the device if they are few enough.

    Args:
        images: (N, H, W, C) uint8, possibly memory-mapped.
        rows: indices of the rows to train on, (n,).
        device: where the batches are needed.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray, device: torch.device) -> None:
        self.rows = rows
        self.device = device
        self._images = images
        self._held: Tensor | None = None
        if len(rows) * int(np.prod(images.shape[1:])) <= room(device):
            _, height, width, channels = images.shape
            self._held = torch.empty((len(rows), channels, height, width), dtype=torch.uint8, device=device)
            for first in range(0, len(rows), PART):
                part = slice(first, first + PART)
                self._held[part] = _channels_first(images[rows[part]]).to(device)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: Tensor) -> Tensor:
        """The images at positions in ``rows``: (B, C, H, W), uint8, on the device."""
        if self._held is not None:
            return self._held[to_device(positions, self.device)]
        return to_device(_channels_first(self._images[self.rows[positions.numpy()]]), self.device)


def room(device: torch.device) -> int:
    """The most bytes of images, or of maps made of them, that may be held on the device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * SHARE_OF_GPU)
    return HELD_IN_MEMORY


def _channels_first(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
