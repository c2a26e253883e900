"""Split batch norm against torch's own on the parts."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from imssl.batch_norm import SplitBatchNorm2d, fill_batch_norm, set_batch_norm_splits, usable_splits
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


def in_batches(images, size):
    return lambda: images.split(size)


def trained(tiny, images):
    """An encoder whose running statistics are of its last steps."""
    encoder = new_encoder(tiny, 3, seed=1)
    for seed in range(3):
        encoder(images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:12]])
    return encoder


@pytest.mark.parametrize("room", [2**30, 60_000, 0], ids=["room", "room for the last maps", "no room"])
@pytest.mark.parametrize("state", ["initial", "trained"])
def test_filled_statistics_are_those_of_one_batch_of_all_images(tiny, state, room):
    """Against torch: one pass in training mode with a momentum of 1."""
    images = torch.randn(50, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 + 1
    encoder = new_encoder(tiny, 3, seed=1) if state == "initial" else trained(tiny, images)
    whole = copy.deepcopy(encoder).double().train()
    for layer in whole.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        expected = whole(images.double())
    fill_batch_norm(encoder.parts, in_batches(images, 7), room)
    with torch.no_grad():
        filled = encoder.eval()(images)
    for block, other in zip(filled.blocks, expected.blocks, strict=True):
        torch.testing.assert_close(block.double(), other, rtol=1e-4, atol=1e-4)
    # Running averages of torch are of the unbiased variance, n / (n - 1) times that of the batch.
    for name, size in (("bn1", 50 * 16 * 16), ("layer4.1.bn2", 50)):
        layer, torchs = encoder.get_submodule(name), whole.get_submodule(name)
        torch.testing.assert_close(layer.running_mean.double(), torchs.running_mean, rtol=1e-4, atol=1e-5)
        variance = torchs.running_var * (size - 1) / size
        torch.testing.assert_close(layer.running_var.double(), variance, rtol=1e-4, atol=1e-5)


def test_the_batch_size_moves_nothing_but_rounding(tiny):
    images = torch.randn(60, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    encoders = [trained(tiny, images) for _ in range(4)]
    for encoder, size in zip(encoders, (1, 7, 32, 60), strict=True):
        fill_batch_norm(encoder.parts, in_batches(images, size), 2**30)
    for encoder in encoders[1:]:
        for name, tensor in encoders[0].state_dict().items():
            torch.testing.assert_close(encoder.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def test_every_image_counts_alike(tiny):
    """The order does not matter, and each image twice is the same as each once."""
    images = torch.randn(30, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    encoders = [new_encoder(tiny, 3, seed=1) for _ in range(3)]
    for encoder, given in zip(encoders, (images, images.flip(0), torch.cat([images, images])), strict=True):
        fill_batch_norm(encoder.parts, in_batches(given, 8), 2**30)
    for name, tensor in encoders[0].state_dict().items():
        torch.testing.assert_close(encoders[1].state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoders[2].state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_filling_changes_statistics_and_nothing_else(tiny, training):
    images = torch.randn(20, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    encoder = new_encoder(tiny, 3, seed=1).train(training)
    set_batch_norm_splits(encoder, 2)
    before = copy.deepcopy(encoder.state_dict())
    fill_batch_norm(encoder.parts, in_batches(images, 8), 2**30)
    changed = {name for name, t in encoder.state_dict().items() if not torch.equal(t, before[name])}
    assert changed == {name for name in before if "running" in name}
    assert encoder.training == training
    assert not any(module._forward_pre_hooks for module in encoder.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in encoder.parameters())
