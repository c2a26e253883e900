"""Generators of torch, each seeded for one purpose; not every stage that draws needs torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from imssl.seeds import derived_seed


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose; drawing on the CPU gives runs on CPU and GPU the same values."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))


@contextmanager
def initialising(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed the global generator of torch inside the block only, for modules that initialise themselves.

    ``torch.nn`` layers draw initial weights from the global generator; its state is restored afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, *purpose))
        yield
