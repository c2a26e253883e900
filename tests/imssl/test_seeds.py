"""Generators by purpose."""

import contextlib
import hashlib
import random

import numpy as np
import torch

from imssl.seeds import derived_seed, numpy_generator
from imssl.torch_seeds import initialising, torch_generator


def test_a_seed_is_the_hash_of_its_purpose():
    digest = hashlib.sha256(b"3/augment/12").digest()
    assert derived_seed(3, "augment", 12) == int.from_bytes(digest[:8], "big") // 2
    assert 0 <= derived_seed(0) < 2**63


def test_purposes_do_not_share_draws():
    purposes = [(0,), (1,), (0, "order"), (0, "order", 0), (0, "order", 1), (0, "step", 0), (1, "step", 0)]
    assert len({derived_seed(*purpose) for purpose in purposes}) == len(purposes)
    draws = {torch.rand(1, generator=torch_generator(*purpose)).item() for purpose in purposes}
    assert len(draws) == len(purposes)


def test_generators_repeat():
    for _ in range(2):
        assert torch.equal(
            torch.rand(5, generator=torch_generator(7, "a")), torch.rand(5, generator=torch_generator(7, "a"))
        )
    assert (numpy_generator(7, "a").random(5) == numpy_generator(7, "a").random(5)).all()


def test_initialising_puts_the_global_generators_back():
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    with initialising(0, "encoder"):
        first = torch.rand(4)
    with contextlib.suppress(RuntimeError), initialising(0, "encoder"):
        second = torch.rand(4)
        raise RuntimeError
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert (np.random.get_state()[1] == state[2]).all()  # noqa: NPY002
