import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch.testing import assert_close
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from imssl.augment import apply, augment, draw, normalise, to_float
from imssl.errors import UserError
from imssl.settings.augmentation import Augmentation


def varied(augmentation: Augmentation, **changes: object) -> Augmentation:
    return augmentation.model_copy(update=changes)


OFF = Augmentation(
    crop_scale=(1.0, 1.0),
    jitter_probability=0.0,
    grey_probability=0.0,
    blur_probability=0.0,
    rotation_degrees=0.0,
    horizontal_flip=0.0,
)
SIZES = [(32, 32), (28, 28), (33, 21), (20, 47)]
ROUNDING = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def smooth_and_noisy(batch, size, generator, channels=3):
    """Half noise, half coarse patches with saturated, black, white and grey pixels."""
    images = torch.rand(batch, channels, *size, generator=generator)
    coarse = torch.rand(batch, channels, 4, 4, generator=generator).mul(1.6).sub(0.3).clamp(0, 1)
    coarse[:, :, 0] = coarse[:, :1, 0]
    images[batch // 2 :] = torch.nn.functional.interpolate(coarse, size=size)[batch // 2 :]
    return images


def only(augmentation, images, generator):
    """Parameters of one operation, and its result."""
    parameters = draw(len(images), *images.shape[-2:], augmentation, generator)
    return parameters, apply(images, parameters)


# Each operation against torchvision's, sample by sample


@pytest.mark.parametrize("size", SIZES)
def test_crop_is_torchvisions_resized_crop(size, generator):
    images = smooth_and_noisy(32, size, generator)
    parameters, views = only(varied(OFF, crop_scale=(0.02, 1.0)), images, generator)
    for image, view, crop in zip(images, views, parameters.crop.tolist(), strict=True):
        expected = reference.resized_crop(
            image, *crop, list(size), InterpolationMode.BILINEAR, antialias=True
        )
        assert_close(view, expected, **ROUNDING)


@pytest.mark.parametrize("size", SIZES)
def test_flips_are_torchvisions(size, generator):
    images = smooth_and_noisy(32, size, generator)
    parameters, views = only(varied(OFF, horizontal_flip=0.5, vertical_flip=0.5), images, generator)
    for image, view, (up_down, left_right) in zip(images, views, parameters.flips.tolist(), strict=True):
        expected = reference.vflip(image) if up_down else image
        expected = reference.hflip(expected) if left_right else expected
        assert_close(view, expected, **ROUNDING)


@pytest.mark.parametrize("size", SIZES)
def test_rotation_is_torchvisions(size, generator):
    images = smooth_and_noisy(32, size, generator)
    parameters, views = only(varied(OFF, rotation_degrees=180.0), images, generator)
    for image, view, angle in zip(images, views, parameters.angle.tolist(), strict=True):
        assert_close(view, reference.rotate(image, angle, InterpolationMode.BILINEAR), **ROUNDING)


@pytest.mark.parametrize(
    ("strength", "function", "column"),
    [
        ({"brightness": 0.9}, reference.adjust_brightness, 0),
        ({"contrast": 0.9}, reference.adjust_contrast, 1),
        ({"saturation": 0.9}, reference.adjust_saturation, 2),
        ({"hue": 0.5}, reference.adjust_hue, 3),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_jitter_is_torchvisions(strength, function, column, channels, generator):
    images = smooth_and_noisy(64, (24, 20), generator, channels)
    still = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    parameters, views = only(varied(OFF, jitter_probability=1.0, **{**still, **strength}), images, generator)
    for image, view, factor in zip(images, views, parameters.jitter[:, column].tolist(), strict=True):
        assert_close(view, function(image, factor), **ROUNDING)


def test_jitter_keeps_each_samples_own_order(generator):
    images = smooth_and_noisy(96, (16, 16), generator)
    parameters, views = only(varied(OFF, jitter_probability=0.8), images, generator)
    changes = (
        reference.adjust_brightness,
        reference.adjust_contrast,
        reference.adjust_saturation,
        reference.adjust_hue,
    )
    assert len(parameters.order.unique(dim=0)) == 24
    for i, image in enumerate(images):
        expected = image
        for column in parameters.order[i].tolist():
            expected = changes[column](expected, parameters.jitter[i, column].item())
        # Hue divides by chroma, which magnifies rounding in nearly grey pixels, but then scales by it.
        assert_close(views[i], expected, **ROUNDING)


@pytest.mark.parametrize("order", ["first", "last"])
def test_rotation_and_flips_come_first_or_last(order, generator):
    """Crop, jitter, grey, blur, rotation and flips, one by one with torchvision, in either order."""
    images = smooth_and_noisy(32, (24, 24), generator)
    settings = Augmentation(vertical_flip=0.5, grey_probability=0.5, rotation_and_flips=order)
    p = draw(32, 24, 24, settings, generator)
    views = apply(images, p)

    def turned(image, i):
        image = reference.vflip(image) if p.flips[i, 0] else image
        image = reference.hflip(image) if p.flips[i, 1] else image
        return reference.rotate(image, p.angle[i].item(), InterpolationMode.BILINEAR)

    changes = (
        reference.adjust_brightness,
        reference.adjust_contrast,
        reference.adjust_saturation,
        reference.adjust_hue,
    )
    differences = []
    for i, image in enumerate(images):
        expected = reference.resized_crop(
            image, *p.crop[i].tolist(), [24, 24], InterpolationMode.BILINEAR, antialias=True
        )
        expected = turned(expected, i) if order == "first" else expected
        for column in p.order[i].tolist():
            expected = changes[column](expected, p.jitter[i, column].item())
        expected = reference.rgb_to_grayscale(expected, 3) if p.grey[i] else expected
        if p.sigma[i] > 0:
            taps = 2 * p.blur_radius + 1
            expected = reference.gaussian_blur(expected, [taps, taps], [p.sigma[i].item()] * 2)
        expected = turned(expected, i) if order == "last" else expected
        differences.append((views[i] - expected).abs().mean().item())
    # In one interpolation the crop and the rotation are not torchvision's two, so "first" is only near.
    assert np.median(differences) < (1e-6 if order == "last" else 0.02)
    assert max(differences) < (1e-4 if order == "last" else 0.05)


def test_colours_do_not_see_the_corners_of_a_rotation_that_comes_last(generator):
    """Contrast mixes in the mean grey: over corners that are black already, or before they are."""
    images = torch.full((16, 3, 24, 24), 0.5)
    settings = varied(
        OFF,
        jitter_probability=1.0,
        contrast=0.9,
        brightness=0.0,
        saturation=0.0,
        hue=0.0,
        rotation_degrees=45.0,
    )
    corners = {}
    for order in ("first", "last"):
        p = draw(16, 24, 24, varied(settings, rotation_and_flips=order), torch.Generator().manual_seed(0))
        views = apply(images, p)[p.angle.abs() > 20]
        corners[order] = views[:, :, 0, 0]
    assert (corners["last"] == 0).all()
    assert (corners["first"] > 0.01).any()


def test_the_order_leaves_the_drawn_parameters_as_they_are():
    first, last = (
        draw(9, 8, 8, Augmentation(rotation_and_flips=order), torch.Generator().manual_seed(5))
        for order in ("first", "last")
    )
    for name in ("crop", "flips", "angle", "jitter", "order", "grey", "sigma"):
        assert torch.equal(getattr(first, name), getattr(last, name))
    assert first.turned_last is False
    assert last[2:4].turned_last is True


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_torchvisions(channels, generator):
    images = smooth_and_noisy(16, (24, 20), generator, channels)
    parameters, views = only(varied(OFF, grey_probability=0.5), images, generator)
    for image, view, grey in zip(images, views, parameters.grey.tolist(), strict=True):
        expected = reference.rgb_to_grayscale(image, num_output_channels=channels) if grey else image
        assert_close(view, expected, **ROUNDING)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_blur_is_torchvisions(size, channels, generator):
    images = smooth_and_noisy(16, size, generator, channels)
    parameters, views = only(varied(OFF, blur_probability=0.7), images, generator)
    assert parameters.blur_radius == 6
    for image, view, sigma in zip(images, views, parameters.sigma.tolist(), strict=True):
        expected = reference.gaussian_blur(image, [13, 13], [sigma, sigma]) if sigma else image
        assert_close(view, expected, **ROUNDING)


def test_composed_geometry_is_the_sequence_of_torchvisions(generator):
    """On a linear ramp interpolating once or twice is the same, away from the borders."""
    size = (32, 40)
    y, x = torch.meshgrid(torch.linspace(0, 0.4, size[0]), torch.linspace(0, 0.5, size[1]), indexing="ij")
    ramp = (0.05 + x + y)[None]
    inner = torch.zeros(1, *size)
    inner[:, 4:-4, 4:-4] = 1
    augmentation = varied(
        OFF, crop_scale=(0.3, 1.0), rotation_degrees=45.0, horizontal_flip=0.5, vertical_flip=0.5
    )
    parameters, views = only(augmentation, ramp.repeat(64, 1, 1, 1), generator)
    for view, crop, flips, angle in zip(
        views, parameters.crop.tolist(), parameters.flips.tolist(), parameters.angle.tolist(), strict=True
    ):
        expected = reference.resized_crop(ramp, *crop, list(size), InterpolationMode.BILINEAR, antialias=True)
        expected = reference.vflip(expected) if flips[0] else expected
        expected = reference.hflip(expected) if flips[1] else expected
        expected = reference.rotate(expected, angle, InterpolationMode.BILINEAR)
        far_inside = reference.rotate(inner, angle, InterpolationMode.BILINEAR) > 0.999
        outside = reference.rotate(torch.ones_like(ramp), angle, InterpolationMode.BILINEAR) == 0
        assert far_inside.any()
        assert_close(view[far_inside], expected[far_inside], **ROUNDING)
        assert (view[outside] < 1e-5).all()


# The distribution of the parameters


def seeded_reference(count, function):
    """Parameters drawn by torchvision, which knows the global generator only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return torch.tensor([function() for _ in range(count)])


@pytest.mark.parametrize(
    ("size", "scale", "ratio"),
    [
        ((32, 32), (0.2, 1.0), (3 / 4, 4 / 3)),
        ((28, 44), (0.08, 1.0), (3 / 4, 4 / 3)),
        ((30, 30), (0.9, 1.0), (1.2, 2.0)),  # hardly any try fits: the central crop
    ],
)
def test_crops_are_distributed_as_torchvisions(size, scale, ratio, generator):
    image = torch.empty(3, *size)
    expected = seeded_reference(
        1500, lambda: transforms.RandomResizedCrop.get_params(image, list(scale), list(ratio))
    )
    crop = draw(20_000, *size, varied(OFF, crop_scale=scale, crop_ratio=ratio), generator).crop
    for column in range(4):
        assert stats.ks_2samp(crop[:, column], expected[:, column]).pvalue > 0.01
    assert stats.ks_2samp(crop[:, 2] / crop[:, 3], expected[:, 2] / expected[:, 3]).pvalue > 0.01
    assert (crop[:, :2] >= 0).all()
    assert (crop[:, :2] + crop[:, 2:] <= torch.tensor(size)).all()
    assert (crop[:, 2:] > 0).all()


@pytest.mark.parametrize("size", [(10, 40), (40, 10), (20, 20)])
def test_impossible_crops_fall_back_to_torchvisions_central_crop(size, generator):
    scale, ratio = (0.99, 1.0), (0.9, 1.1) if size != (20, 20) else (3.0, 3.1)
    expected = seeded_reference(
        1, lambda: transforms.RandomResizedCrop.get_params(torch.empty(3, *size), list(scale), list(ratio))
    )
    crop = draw(16, *size, varied(OFF, crop_scale=scale, crop_ratio=ratio), generator).crop
    assert torch.equal(crop, expected.expand(16, 4))


def test_jitter_is_distributed_as_torchvisions(generator):
    jitter = transforms.ColorJitter(0.4, 1.3, 0.2, 0.1)
    expected = seeded_reference(
        1500,
        lambda: jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)[1:],
    )
    augmentation = varied(OFF, jitter_probability=1.0, brightness=0.4, contrast=1.3, saturation=0.2, hue=0.1)
    parameters = draw(20_000, 8, 8, augmentation, generator)
    for column in range(4):
        assert stats.ks_2samp(parameters.jitter[:, column], expected[:, column]).pvalue > 0.01
    _, counts = parameters.order.unique(dim=0, return_counts=True)
    assert stats.chisquare(counts.numpy()).pvalue > 0.01
    assert len(counts) == math.factorial(4)


def test_rates_and_ranges_of_the_other_parameters(generator):
    augmentation = Augmentation(
        jitter_probability=0.7,
        grey_probability=0.2,
        blur_probability=0.4,
        horizontal_flip=0.5,
        vertical_flip=0.1,
    )
    n = 20_000
    parameters = draw(n, 8, 8, augmentation, generator)
    jittered = (parameters.jitter != torch.tensor([1.0, 1.0, 1.0, 0.0])).any(dim=1)
    blurred = parameters.sigma > 0
    rates = {
        0.7: jittered,
        0.2: parameters.grey,
        0.4: blurred,
        0.5: parameters.flips[:, 1],
        0.1: parameters.flips[:, 0],
    }
    for rate, happened in rates.items():
        assert stats.binomtest(int(happened.sum()), n, rate).pvalue > 0.01
    assert stats.kstest(parameters.sigma[blurred], stats.uniform(0.1, 1.9).cdf).pvalue > 0.01
    assert stats.kstest(parameters.angle, stats.uniform(-30, 60).cdf).pvalue > 0.01


def test_switching_one_operation_off_keeps_the_other_parameters():
    full = draw(50, 32, 32, Augmentation(), torch.Generator().manual_seed(3))
    less = draw(50, 32, 32, Augmentation(crop_scale=(1.0, 1.0), hue=0.0), torch.Generator().manual_seed(3))
    assert torch.equal(full.jitter[:, :3], less.jitter[:, :3])
    assert torch.equal(full.sigma, less.sigma)
    assert torch.equal(full.order, less.order)


# Properties of the whole


@pytest.mark.parametrize("channels", [1, 3])
def test_a_seed_gives_the_same_views_bit_for_bit(channels):
    images = (torch.rand(20, channels, 28, 28, generator=torch.Generator().manual_seed(0)) * 255).byte()
    first, again, other = (
        augment(images, Augmentation(), torch.Generator().manual_seed(s)) for s in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_sample_does_not_depend_on_the_others(generator):
    images = smooth_and_noisy(40, (32, 24), generator)
    parameters = draw(40, 32, 24, Augmentation(vertical_flip=0.5), generator)
    together = apply(images, parameters)
    for i in range(40):
        alone = apply(images[i : i + 1], parameters[i : i + 1])
        assert_close(together[i : i + 1], alone, rtol=0.0, atol=1e-6)


def test_tiles_do_not_show(generator, monkeypatch):
    images = smooth_and_noisy(40, (32, 24), generator)
    parameters = draw(40, 32, 24, Augmentation(), generator)
    whole = apply(images, parameters)
    monkeypatch.setattr("imssl.augment._TILE_PIXELS", 7 * 32 * 24)
    assert_close(apply(images, parameters), whole, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_all_off_returns_the_images(channels, generator):
    images = smooth_and_noisy(6, (17, 30), generator, channels)
    views = augment(images, OFF, generator)
    assert torch.equal(views, images)
    assert views.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_float_in_range_and_the_images_stay(batch, channels, layout, generator):
    images = smooth_and_noisy(batch, (21, 34), generator, channels).contiguous(memory_format=layout)
    before = images.clone()
    for _ in range(10):
        views = augment(images, Augmentation(vertical_flip=0.5), generator)
        assert views.shape == images.shape
        assert views.dtype == torch.float32
        assert views.is_contiguous()
        assert views.min() >= 0
        assert views.max() <= 1
    assert torch.equal(images, before)


def test_uint8_and_float_images_agree():
    images = torch.randint(
        0, 256, (12, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    from_uint8 = augment(images, Augmentation(), torch.Generator().manual_seed(1))
    from_float = augment(images / 255, Augmentation(), torch.Generator().manual_seed(1))
    assert torch.equal(from_uint8, from_float)


def test_one_channel_equals_three_equal_channels(generator):
    """Saturation, hue and grey do nothing to grey images, as torchvision's weights sum to 0.9999 only."""
    images = smooth_and_noisy(20, (16, 16), generator, channels=1)
    parameters = draw(20, 16, 16, Augmentation(), generator)
    three = apply(images.expand(-1, 3, -1, -1), parameters)
    assert_close(apply(images, parameters).expand(-1, 3, -1, -1), three, rtol=0.0, atol=5e-4)


def test_black_white_and_grey_pixels_survive_every_hue(generator):
    images = torch.tensor([0.0, 0.3, 1.0]).view(3, 1, 1, 1).expand(3, 3, 4, 4).contiguous()
    views = augment(
        images, varied(OFF, jitter_probability=1.0, hue=0.5, brightness=0.0, contrast=0.0), generator
    )
    assert_close(views, images, rtol=0.0, atol=5e-4)


def test_the_global_generator_is_untouched(generator):
    before = torch.random.get_rng_state()
    augment(torch.rand(4, 3, 16, 16, generator=generator), Augmentation(), generator)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_gives_the_same_views():
    images = smooth_and_noisy(32, (28, 28), torch.Generator().manual_seed(0))
    here = augment(images, Augmentation(), torch.Generator().manual_seed(1))
    there = augment(images.cuda(), Augmentation(), torch.Generator().manual_seed(1))
    assert_close(there.cpu(), here, rtol=0.0, atol=1e-4)


def test_normalise_is_torchvisions(generator):
    images = torch.rand(3, 3, 8, 8, generator=generator)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.1])
    expected = reference.normalize(images, mean.tolist(), std.tolist())
    assert_close(normalise(images, mean, std), expected)


def test_to_float():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_float(images), images.to(torch.float32) / 255)
    assert to_float(images)[0, 0, -1, -1] == 1
    with pytest.raises(TypeError, match="float64"):
        to_float(images.double())


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_scale": (0.0, 1.0)},
        {"crop_scale": (0.5, 1.1)},
        {"crop_scale": (0.8, 0.2)},
        {"crop_scale": (0.2, 0.5, 1.0)},
        {"crop_ratio": (-1.0, 1.0)},
        {"jitter_probability": 1.5},
        {"brightness": -0.1},
        {"hue": 0.6},
        {"blur_sigma": (0.0, 1.0)},
        {"rotation_degrees": float("nan")},
        {"horizontal_flip": -0.5},
    ],
)
def test_wrong_settings_are_explained(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Augmentation(**wrong)


def test_wrong_channels_are_explained(generator):
    with pytest.raises(UserError, match="4 channels"):
        augment(torch.rand(2, 4, 8, 8), Augmentation(), generator)


def test_torchvision_is_not_imported():
    code = "import sys, imssl.augment; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
