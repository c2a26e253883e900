"""The encoder against torchvision's ResNets with the same weights."""

import math

import pytest
import torch
import torchvision
from torch import nn

from imssl.batch_norm import SplitBatchNorm2d
from imssl.device import autocast, on_device
from imssl.encoder import build_encoder, new_encoder
from imssl.encoders.encoder import area_means
from imssl.methods.moco import Moco
from imssl.methods.moco_barlow import MocoBarlow
from imssl.methods.moco_mse import MocoMse
from imssl.methods.random_init import RandomInit
from imssl.settings.encoder import EncoderSettings


def pair(name, stem="imagenet", channels=3):
    """Our encoder, and torchvision's with the same stem and weights."""
    ours = new_encoder(EncoderSettings(name=name, stem=stem), channels, seed=0)
    generator = torch.Generator().manual_seed(1)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):  # away from 0 and 1, so that a wrong statistic would show
            for tensor in (module.weight.data, module.running_var, module.bias.data, module.running_mean):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    theirs = torchvision.models.get_model(name, weights=None)
    if stem == "small":
        theirs.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
        theirs.maxpool = nn.Identity()
    elif channels != 3:
        theirs.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    theirs.fc = nn.Identity()
    theirs.load_state_dict(ours.state_dict())  # strict: names and shapes must be torchvision's
    return ours, theirs


def block_outputs(resnet, images):
    """What torchvision's four blocks give out, and its pooled output."""
    outputs = []
    layers = (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)
    hooks = [layer.register_forward_hook(lambda _m, _i, output: outputs.append(output)) for layer in layers]
    pooled = resnet(images)
    for hook in hooks:
        hook.remove()
    return outputs, pooled


@pytest.mark.parametrize(
    ("name", "stem", "channels", "size"),
    [
        ("resnet18", "imagenet", 3, 33),
        ("resnet34", "imagenet", 3, 33),
        ("resnet50", "imagenet", 3, 33),
        ("resnet18", "small", 1, 9),
    ],
)
def test_every_block_equals_torchvision(name, stem, channels, size):
    ours, theirs = pair(name, stem, channels)
    images = torch.randn(3, channels, size, size, generator=torch.Generator().manual_seed(2))
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        with torch.no_grad():
            features = ours(images)
            expected, pooled = block_outputs(theirs, images)
        for number, block in enumerate(expected, start=1):
            torch.testing.assert_close(features.block(number), block, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(features.pooled(number), block.mean(dim=(2, 3)), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(features.embedding, pooled, rtol=1e-5, atol=1e-5)
    assert ours.block_widths == tuple(block.shape[1] for block in expected)
    assert ours.width == pooled.shape[1]
    running = theirs.state_dict()  # moved alike too
    for key, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, running[key], rtol=1e-5, atol=1e-6)


def test_gradients_equal_torchvision():
    ours, theirs = pair("resnet18")
    images = torch.randn(4, 3, 33, 33, generator=torch.Generator().manual_seed(2))
    ours(images).embedding.square().sum().backward()
    theirs(images).square().sum().backward()
    expected = dict(theirs.named_parameters())
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name].grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [8, 16, 24])
def test_gradients_in_bfloat16_are_near_those_in_float32(tiny, size):
    """At 16 pixels a strided convolution meets 1x1 maps, for which torch 2.15 leaves part of the CPU's
    bfloat16 weight gradient as the memory happened to be."""
    images = torch.randn(24, 3, size, size, generator=torch.Generator().manual_seed(2))
    for _ in range(5):
        gradients = []
        for precision in ("float32", "bfloat16"):
            encoder = on_device(new_encoder(tiny, 3, seed=0), torch.device("cpu"))
            with autocast(torch.device("cpu"), precision):
                features = encoder(images.contiguous(memory_format=torch.channels_last))
                loss = sum(features.pooled(i).float().square().mean() for i in range(1, 5))
            loss.backward()
            gradients.append([weight.grad for weight in encoder.parameters()])
        for exact, rounded in zip(*gradients, strict=True):
            assert rounded.abs().max() < 2 * exact.abs().max() + 0.1


def test_maps_have_the_sizes_of_the_stem():
    images = torch.randn(2, 3, 32, 32)
    for stem, sides in (("imagenet", [8, 4, 2, 1]), ("small", [32, 16, 8, 4])):
        features = build_encoder(EncoderSettings(name="resnet18", stem=stem, width=8), 3)(images)
        assert [block.shape[-1] for block in features.blocks] == sides
        assert [block.shape[1] for block in features.blocks] == [8, 16, 32, 64]


def test_a_seed_gives_the_same_weights_and_leaves_the_global_generator(tiny):
    before = torch.get_rng_state()
    first, again, other = (new_encoder(tiny, 3, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    torch.manual_seed(123)
    assert torch.equal(new_encoder(tiny, 3, 0).state_dict()["conv1.weight"], first["conv1.weight"])


@pytest.mark.parametrize("method", [Moco, MocoMse, MocoBarlow, RandomInit])
def test_every_method_starts_from_the_same_encoder(tiny, make_method, method):
    expected = new_encoder(tiny, 3, seed=0).state_dict()
    settings = {} if method is RandomInit else {"queue": 64}
    made = make_method(method, **settings).encoder.state_dict()
    assert all(torch.equal(made[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_initial_weights_have_the_spread_of_he_et_al(name):
    """Normal with variance 2 / fan-out (He et al. 2015, eq. 14), no residual branch at zero."""
    encoder = new_encoder(EncoderSettings(name=name, stem="imagenet", width=32), 3, seed=0)
    for key, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            expected, count = math.sqrt(2 / fan_out), module.weight.numel()
            assert module.bias is None
            assert abs(module.weight.mean().item()) < 5 * expected / math.sqrt(count), key
            assert abs(module.weight.std().item() / expected - 1) < 5 / math.sqrt(2 * count), key
        elif isinstance(module, nn.BatchNorm2d):
            assert isinstance(module, SplitBatchNorm2d)
            assert module.splits == 1
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert (module.running_mean == 0).all()
            assert (module.running_var == 1).all()


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("pixels", [16, 28, 33, 64])
def test_the_stride_tells_the_size_of_the_last_map(stem, pixels):
    encoder = new_encoder(EncoderSettings(name="resnet18", stem=stem, width=8), 1, seed=0).eval()
    maps = encoder(torch.zeros(2, 1, pixels, pixels)).block(4)
    assert maps.shape[-2:] == (math.ceil(pixels / encoder.stride),) * 2


@pytest.mark.parametrize(
    ("height", "width", "side"), [(8, 8, 4), (7, 7, 4), (9, 9, 2), (5, 5, 1), (4, 4, 4), (6, 9, 4)]
)
def test_means_of_areas_and_their_gradient_are_those_of_adaptive_pooling(height, width, side):
    """A GPU takes them, as torch has no gradient of adaptive pooling there that is the same on every run."""
    maps = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    given = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    means, gradients = [], []
    for pool in (area_means, torch.nn.functional.adaptive_avg_pool2d):
        own = maps.clone().requires_grad_()
        means.append(pool(own, side))
        (means[-1] * given).sum().backward()
        gradients.append(own.grad)
    torch.testing.assert_close(*means)
    torch.testing.assert_close(*gradients)
