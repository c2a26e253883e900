"""One seed per purpose: every random draw of the suite comes from a generator named here.

A generator is derived from the run's seed and the words that say what it is for, never from the state
of another one. The draws of a step therefore do not depend on how the run reached that step, which makes
a resumed run equal to an uninterrupted one.
"""

import hashlib

import numpy as np


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, for example ``derived_seed(0, "augment", 12)``."""
    words = "/".join(str(word) for word in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8]) >> 1


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    return np.random.default_rng(derived_seed(seed, *purpose))
