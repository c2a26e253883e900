"""The queue of keys: a first-in, first-out dictionary of negatives (He et al. 2020, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyQueue(nn.Module):
    """The last ``length`` keys; its content and pointer are buffers, so a checkpoint holds them.

    Args:
        length: K, number of keys.
        width: D, width of a key.

    It starts with random unit vectors, as in He et al.; they are gone after K keys.
    """

    keys: Tensor
    pointer: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(length, width), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put the keys of one batch (B, D) in the place of the oldest ones.

        A batch longer than the queue leaves its last K keys.
        """
        length = len(self.keys)
        # The pointer is never read here: a GPU would have to finish its work first.
        places = (self.pointer + torch.arange(len(keys), device=self.keys.device)) % length
        self.keys[places[-length:]] = keys[-length:].to(self.keys.dtype)
        self.pointer.add_(len(keys)).remainder_(length)
