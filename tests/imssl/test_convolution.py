"""The convolution against torch's own, on maps of one pixel and on others."""

import pytest
import torch
from torch import nn

from imssl.convolution import Conv2d, skip_padding


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (3, 3)])
@pytest.mark.parametrize(
    "shape",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": (3, 5), "padding": (1, 2)},
        {"kernel_size": 3, "padding": 2},
        {"kernel_size": 1},
        {"kernel_size": 2, "padding": 1},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": 1, "groups": 2, "bias": True},
        {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
    ],
)
def test_outputs_and_gradients_equal_torch(size, shape):
    torch.manual_seed(0)
    theirs = nn.Conv2d(4, 6, **{"bias": False} | shape).double()
    ours = nn.Sequential(nn.Conv2d(4, 6, **{"bias": False} | shape).double())
    ours[0].load_state_dict(theirs.state_dict())
    skip_padding(ours)
    assert type(ours[0]) is Conv2d
    images = torch.randn(5, 4, *size, dtype=torch.float64)
    inputs = [images.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(given) for layer, given in zip((theirs, ours), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours[0].weight.grad, theirs.weight.grad, rtol=1e-12, atol=1e-12)


def test_only_plain_convolutions_are_turned():
    class Own(nn.Conv2d):
        pass

    layers = nn.Sequential(nn.Conv2d(1, 1, 3), Own(1, 1, 3), nn.Conv1d(1, 1, 3))
    names = list(layers.state_dict())
    skip_padding(layers)
    assert [type(layer) for layer in layers] == [Conv2d, Own, nn.Conv1d]
    assert list(layers.state_dict()) == names


def test_a_map_of_one_pixel_costs_less():
    """The arithmetic that is done, by torch's own count."""
    from torch.utils.flop_counter import FlopCounterMode

    layer, images = nn.Conv2d(8, 8, 3, padding=1, bias=False), torch.randn(2, 8, 1, 1)
    counts = []
    for _ in range(2):
        with FlopCounterMode(display=False) as counter:
            layer(images)
        counts.append(counter.get_total_flops())
        skip_padding(layer)
    assert counts[0] == 9 * counts[1] > 0
