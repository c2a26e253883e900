"""The training images as a step needs them: uint8 batches on the device."""

import numpy as np
import torch
from torch import Tensor

# Above this size a set is read from disk batch by batch instead of being held in memory.
HELD_IN_MEMORY = 2**30


class TrainingImages:
    """Rows of a memory-mapped array, held on the device when they are few enough.

    Args:
        images: (N, H, W, C) uint8, possibly memory-mapped.
        rows: indices of the rows to train on, (n,).
        device: where batches are wanted.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray, device: torch.device) -> None:
        self.rows = rows
        self.device = device
        self._images = images
        self._held: Tensor | None = None
        if len(rows) * int(np.prod(images.shape[1:])) <= HELD_IN_MEMORY:
            self._held = _channels_first(images[rows]).to(device)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: Tensor) -> Tensor:
        """The images at positions in ``rows``: (B, C, H, W), uint8, on the device."""
        if self._held is not None:
            return self._held[positions.to(self.device)]
        return _channels_first(self._images[self.rows[positions.numpy()]]).to(self.device)


def _channels_first(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
