"""Split batch norm against torch's own on the parts."""

import numpy as np
import pytest
import torch
from torch import nn

from imssl.batch_norm import SplitBatchNorm2d, set_batch_norm_splits, usable_splits
from imssl.encoder import new_encoder


def layers(splits, features=5):
    """A split layer and a plain one with the same weights."""
    split, plain = SplitBatchNorm2d(features), nn.BatchNorm2d(features)
    split.splits = splits
    generator = torch.Generator().manual_seed(3)
    for tensor in (plain.weight.data, plain.bias.data, plain.running_mean, plain.running_var):
        tensor.copy_(0.5 + torch.rand(features, generator=generator))
    split.load_state_dict(plain.state_dict())
    return split, plain


def maps(batch, seed=0, features=5):
    draw = torch.Generator().manual_seed(seed)
    offset, scale = torch.arange(features).view(1, -1, 1, 1), 1 + torch.rand(batch, 1, 1, 1, generator=draw)
    return offset + scale * torch.randn(batch, features, 4, 3, generator=draw)


def assert_same_state(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], tensor), name


def test_one_split_is_plain_batch_norm_bit_for_bit():
    split, plain = layers(splits=1)
    for seed in range(3):
        assert torch.equal(split(maps(12, seed)), plain(maps(12, seed)))
    assert_same_state(split, plain)


def test_eval_mode_is_plain_batch_norm_bit_for_bit():
    split, plain = layers(splits=4)
    split.eval()
    plain.eval()
    assert torch.equal(split(maps(12)), plain(maps(12)))
    assert_same_state(split, plain)


def test_four_splits_are_four_batch_norms():
    split, _ = layers(splits=4)
    images = maps(12).requires_grad_()
    apart = images.detach().clone().requires_grad_()
    output = split(images)
    expected = torch.cat([layers(1)[1](part) for part in apart.split(3)])
    torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(4))
    (output * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(images.grad, apart.grad, rtol=1e-5, atol=1e-6)


def test_running_statistics_follow_the_parts():
    split, plain = layers(splits=4)
    mean, var = plain.running_mean.double().numpy(), plain.running_var.double().numpy()
    images = maps(12)
    split(images)
    for part in images.double().numpy().reshape(4, 3, 5, -1):
        flat = part.transpose(1, 0, 2).reshape(5, -1)
        mean = mean + 0.1 / 4 * (flat.mean(axis=1) - mean)
        var = var + 0.1 / 4 * (flat.var(axis=1, ddof=1) - var)
    np.testing.assert_allclose(split.running_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(split.running_var.numpy(), var, rtol=1e-5)
    assert split.num_batches_tracked.item() == 1


def test_running_statistics_stay_near_those_of_plain_batch_norm():
    split, plain = layers(splits=4)
    for seed in range(60):
        split(maps(32, seed))
        plain(maps(32, seed))
    torch.testing.assert_close(split.running_mean, plain.running_mean, rtol=0.03, atol=0.03)
    torch.testing.assert_close(split.running_var, plain.running_var, rtol=0.05, atol=0.05)
    assert split.num_batches_tracked.item() == 60


@pytest.mark.parametrize(
    ("batch", "used"), [(10, 2), (7, 1), (6, 2), (2, 1), (1, 1), (8, 2), (9, 3), (12, 4)]
)
def test_a_batch_that_does_not_divide_uses_fewer_splits(batch, used):
    assert usable_splits(batch, 4) == used
    split, _ = layers(splits=4)
    fewer, _ = layers(splits=used)
    assert torch.equal(split(maps(batch)), fewer(maps(batch)))
    assert_same_state(split, fewer)
    assert all(tensor.isfinite().all() for tensor in split.state_dict().values())


def test_splits_are_set_in_the_whole_encoder(tiny):
    encoder = new_encoder(tiny, 3, seed=0)
    set_batch_norm_splits(encoder, 4)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 20
    assert {module.splits for module in norms} == {4}
