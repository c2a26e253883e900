"""The queue of keys: a first-in, first-out dictionary of negatives (He et al. 2020, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyQueue(nn.Module):
    """The last ``length`` keys; its content and pointer are buffers, so a checkpoint holds them.

    Args:
        length: K, number of keys.
        width: D, width of a key.

    It starts with random unit vectors, as in He et al.; K keys later, all of them have been replaced.
    """

    keys: Tensor
    pointer: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(length, width), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by those of a batch, (B, D); if B > K, by its last K keys."""
        length = len(self.keys)
        # The pointer is not read on the CPU, which would have to wait for the GPU.
        places = (self.pointer + torch.arange(len(keys), device=self.keys.device)) % length
        self.keys[places[-length:]] = keys[-length:].to(self.keys.dtype)
        self.pointer.add_(len(keys)).remainder_(length)
