"""Batch norm over a shared batch against NumPy, with parts that lie in one process, and that do not."""

import numpy as np
import pytest
import torch

from imssl.batch_norm import SplitBatchNorm2d, shared_splits
from imssl.distributed import averaged, gather, in_part, share
from tests.imssl.together import together

BATCH, CHANNELS, SIDE = 24, 3, 5
RANDOM = np.random.default_rng(0)
MAPS = RANDOM.normal(2.0, 3.0, size=(BATCH, CHANNELS, SIDE, SIDE))
WEIGHT, BIAS = RANDOM.normal(size=(2, CHANNELS))
DIRECTION = RANDOM.normal(size=MAPS.shape)


def in_numpy(parts):
    """Output, running mean and running variance; each part by itself, momentum spread over the parts."""
    means, variances = np.zeros(CHANNELS), np.ones(CHANNELS)
    outputs = []
    for part in np.split(MAPS, parts):
        mean, variance = part.mean(axis=(0, 2, 3)), part.var(axis=(0, 2, 3))
        standardised = (part - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
        outputs.append(standardised * WEIGHT[:, None, None] + BIAS[:, None, None])
        momentum = 0.1 / parts
        means = (1 - momentum) * means + momentum * mean
        variances = (1 - momentum) * variances + momentum * part.var(axis=(0, 2, 3), ddof=1)
    return np.concatenate(outputs), means, variances


def layer_of(parts):
    layer = SplitBatchNorm2d(CHANNELS).double().train()
    layer.splits = parts
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(WEIGHT))
        layer.bias.copy_(torch.from_numpy(BIAS))
    return layer


def numeric_gradient(parts, place):
    """Of sum(direction * output ** 2) by a central difference, with respect to one input."""
    losses = []
    for step in (1e-5, -1e-5):
        MAPS[place] += step
        losses.append((DIRECTION * in_numpy(parts)[0] ** 2).sum())
        MAPS[place] -= step
    return (losses[0] - losses[1]) / 2e-5


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 8])
def test_outputs_gradients_and_running_statistics_equal_numpy(number, parts):
    def work():
        layer = layer_of(parts)
        maps = torch.from_numpy(MAPS).requires_grad_()

        def loss():
            with in_part():
                outputs = gather(layer(share(maps)))
            return (torch.from_numpy(DIRECTION) * outputs.square()).sum(), outputs

        averaged_loss = averaged(layer, loss)
        total, outputs = averaged_loss()
        total.backward()
        gradients = gather(share(maps.grad)) / number
        return outputs, gradients, layer.running_mean, layer.running_var, layer.weight.grad, layer.bias.grad

    expected, mean, variance = in_numpy(parts)
    standardised = (expected - BIAS[:, None, None]) / WEIGHT[:, None, None]
    of_outputs = 2 * DIRECTION * expected
    for outputs, gradients, running_mean, running_var, of_weight, of_bias in together(number, work):
        np.testing.assert_allclose(outputs, expected, 1e-9, 1e-9)
        np.testing.assert_allclose(running_mean, mean, 1e-9)
        np.testing.assert_allclose(running_var, variance, 1e-9)
        np.testing.assert_allclose(of_weight, (of_outputs * standardised).sum(axis=(0, 2, 3)), 1e-9)
        np.testing.assert_allclose(of_bias, of_outputs.sum(axis=(0, 2, 3)), 1e-9)
        for place in [(0, 0, 0, 0), (7, 1, 2, 3), (12, 2, 4, 4), (23, 0, 1, 1)]:
            np.testing.assert_allclose(gradients[place], numeric_gradient(parts, place), 1e-4, 1e-6)


def test_half_precision_keeps_its_type_and_float32_statistics():
    def work():
        layer = SplitBatchNorm2d(CHANNELS).train()
        maps = torch.from_numpy(MAPS).bfloat16().requires_grad_()
        with in_part():
            outputs = layer(share(maps))
        outputs.float().square().sum().backward()
        assert outputs.dtype == maps.grad.dtype == torch.bfloat16
        return layer.running_mean

    rounded = torch.from_numpy(MAPS).bfloat16().double().numpy()
    for running_mean in together(2, work):
        np.testing.assert_allclose(running_mean, 0.1 * rounded.mean(axis=(0, 2, 3)), 1e-4)


@pytest.mark.parametrize(
    ("share", "splits", "apart", "expected"),
    [(16, 1, False, 1), (16, 4, False, 4), (16, 1, True, 2), (16, 3, True, 4), (2, 1, True, 1)],
)
def test_parts_lie_in_one_process_each_where_they_are_to_keep_apart(share, splits, apart, expected):
    """Unless too few images would be left in them."""
    results = together(2, lambda: shared_splits(share, splits), normalise_apart=apart)
    assert results == [expected] * 2
