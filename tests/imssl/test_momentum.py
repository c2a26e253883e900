"""The momentum copy against its formula and lightly."""

import copy

import pytest
import torch
from lightly.models.utils import update_momentum
from lightly.utils.scheduler import cosine_schedule

from imssl.encoder import new_encoder
from imssl.momentum import cosine_momentum, momentum_copy, momentum_update


def moved(encoder, seed):
    """The same network with other weights and running statistics."""
    other, draw = copy.deepcopy(encoder), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=draw))
    return other


def test_a_copy_is_equal_and_gets_no_gradient(encoder):
    follower = momentum_copy(encoder)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(follower.state_dict()[name], tensor)
        assert follower.state_dict()[name].data_ptr() != tensor.data_ptr()
    assert not any(weight.requires_grad for weight in follower.parameters())
    assert all(weight.requires_grad for weight in encoder.parameters())


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.999, 1.0])
def test_weights_move_as_in_the_formula_and_in_lightly(encoder, momentum):
    follower = momentum_copy(moved(encoder, 1))
    before, theirs = copy.deepcopy(follower), copy.deepcopy(follower)
    momentum_update(follower, encoder, momentum)
    update_momentum(encoder, theirs, m=momentum)
    rows = zip(
        follower.parameters(), before.parameters(), encoder.parameters(), theirs.parameters(), strict=True
    )
    for ours, old, leader, other in rows:
        expected = momentum * old.double() + (1 - momentum) * leader.double()
        torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)


def test_the_ends_are_exact(encoder):
    old = moved(encoder, 1)
    for momentum, expected in ((0.0, encoder), (1.0, old)):
        follower = momentum_copy(old)
        momentum_update(follower, encoder, momentum)
        assert all(map(torch.equal, follower.parameters(), expected.parameters()))


def test_buffers_and_leader_are_left_alone(tiny):
    leader = new_encoder(tiny, 3, seed=0)
    follower = momentum_copy(moved(leader, 1))
    buffers = [buffer.clone() for buffer in follower.buffers()]
    weights = [weight.clone() for weight in leader.parameters()]
    momentum_update(follower, leader, 0.5)
    assert all(map(torch.equal, follower.buffers(), buffers))
    assert all(map(torch.equal, leader.parameters(), weights))
    assert not any(weight.requires_grad for weight in follower.parameters())


def test_the_momentum_rises_to_one_along_a_cosine():
    assert [cosine_momentum(0.99, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx(
        [0.99, 0.995, 1.0]
    )
    # lightly reaches the end in the last of max_steps.
    theirs = [cosine_schedule(step, 41, 0.9, 1.0) for step in range(41)]
    assert [cosine_momentum(0.9, step / 40) for step in range(41)] == pytest.approx(theirs)
    assert cosine_momentum(1.0, 0.3) == 1.0
