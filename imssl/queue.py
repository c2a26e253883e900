"""The queue of keys: a first-in, first-out dictionary of negatives (He et al. 2020, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyQueue(nn.Module):
    """The last ``length`` keys, and of which images they are; all buffers, so a checkpoint holds them.

    Args:
        length: K, number of keys.
        width: D, width of a key.

    It starts with random unit vectors, as in He et al., of no image (index -1); K keys later, all of them
    have been replaced.

    Attributes:
        keys: (K, D) float32.
        indices: (K,) int64, the training image of each key.
        pointer: scalar int64, where the next key goes.
    """

    keys: Tensor
    indices: Tensor
    pointer: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(length, width), dim=1))
        self.register_buffer("indices", torch.full((length,), -1, dtype=torch.long))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, indices: Tensor) -> None:
        """Replace the oldest keys by those of a batch, (B, D), of the images with these indices, (B,) int64.

        If B > K, the last K of them are kept.
        """
        length = len(self.keys)
        # The pointer is not read on the CPU, which would have to wait for the GPU.
        places = (self.pointer + torch.arange(len(keys), device=self.keys.device)) % length
        self.keys[places[-length:]] = keys[-length:].to(self.keys.dtype)
        self.indices[places[-length:]] = indices[-length:]
        self.pointer.add_(len(keys)).remainder_(length)
