"""Where the places of a view come from, seen on images that show their own coordinates."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from imssl.augment import apply, augment, draw, geometry_of
from imssl.geometry import Geometry, cell_centres
from imssl.settings.augmentation import Augmentation

COLOURLESS = Augmentation(
    crop_scale=(0.3, 0.8),
    jitter_probability=0.0,
    grey_probability=0.0,
    blur_probability=0.0,
    rotation_degrees=40.0,
    horizontal_flip=0.5,
    vertical_flip=0.5,
)
UPRIGHT = COLOURLESS.model_copy(
    update={"rotation_degrees": 0.0, "horizontal_flip": 0.0, "vertical_flip": 0.0, "crop_scale": (0.1, 0.3)}
)


def coordinates(batch, size):
    """Images (B, 3, S, S) whose channels are x / S, y / S and 1."""
    along = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)]).expand(batch, 3, size, size).contiguous()


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("size", [None, 48, 32])
def test_a_place_of_a_view_shows_the_place_of_the_image(order, size):
    augmentation = COLOURLESS.model_copy(update={"rotation_and_flips": order})
    images = coordinates(64, 64)
    views = augment(images, augmentation, torch.Generator().manual_seed(1), size=size)
    geometry = geometry_of(views)
    side = size or 64
    assert geometry.view_size == (side, side)
    assert geometry.flips.any()
    assert not geometry.flips.all()
    places = cell_centres(geometry.view_size, side, side)
    expected = geometry.in_image(places).float() / 64
    seen = views[:, :2].flatten(2).mT
    whole = views[:, 2].flatten(1) > 1 - 1e-6  # no black of the rotation mixed in
    assert whole.float().mean() > 0.5
    # The outermost pixels of a crop are held, not continued, beyond their centres.
    inner = whole & ((places - side / 2).abs().max(dim=1).values < side * 0.28)
    torch.testing.assert_close(seen[inner], expected[inner], rtol=0, atol=2e-3)
    shown = geometry.shows(places)
    assert (shown | ~whole).all()
    black = views[:, 2].flatten(1) == 0
    assert black.any()
    assert not (shown & black).any()


def test_the_centres_of_cells_are_in_rows():
    np.testing.assert_allclose(
        cell_centres((4, 8), 2, 4).numpy(),
        [[1, 1], [3, 1], [5, 1], [7, 1], [1, 3], [3, 3], [5, 3], [7, 3]],
    )


def test_a_mirrored_crop_is_located_by_hand():
    geometry = Geometry(
        crop=torch.tensor([[4, 2, 8, 16]]),  # top, left, height, width
        flips=torch.tensor([[False, True]]),
        angle=torch.zeros(1),
        image_size=(32, 32),
        view_size=(16, 16),
    )
    places = torch.tensor([[0.0, 0.0], [16.0, 16.0], [4.0, 8.0]])
    np.testing.assert_allclose(geometry.in_image(places)[0].numpy(), [[18, 4], [2, 12], [14, 8]])
    assert geometry.shows(places).all()
    assert geometry[:1].in_image(places).shape == (1, 3, 2)


def test_a_quarter_turn_is_located_as_rot90_does_it():
    geometry = Geometry(
        torch.tensor([[0, 0, 6, 6]]),
        torch.zeros(1, 2, dtype=torch.bool),
        torch.tensor([90.0]),
        (6, 6),
        (6, 6),
    )
    turned = torch.rot90(coordinates(1, 6), 1, dims=(2, 3))  # counter-clockwise
    expected = 6 * turned[0, :2].flatten(1).T
    located = geometry.in_image(cell_centres((6, 6), 6, 6))[0].float()
    torch.testing.assert_close(located, expected, rtol=0, atol=1e-4)


def test_larger_views_are_torchvisions_resized_crops():
    draws = torch.Generator().manual_seed(2)
    images = torch.rand(16, 3, 24, 24, generator=draws)
    parameters = draw(16, 24, 24, UPRIGHT, draws)
    views = apply(images, parameters, (40, 40))
    for image, view, crop in zip(images, views, parameters.crop.tolist(), strict=True):
        expected = reference.resized_crop(image, *crop, [40, 40], InterpolationMode.BILINEAR)
        torch.testing.assert_close(view, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("side", "factor"), [(16, 2), (8, 4)])
def test_a_smaller_view_of_the_whole_image_averages_its_pixels(side, factor):
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    whole = UPRIGHT.model_copy(update={"crop_scale": (1.0, 1.0)})
    views = augment(images, whole, torch.Generator().manual_seed(0), size=side)
    torch.testing.assert_close(views, F.avg_pool2d(images, factor), rtol=0, atol=1e-5)


def test_the_size_changes_no_draw():
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    small = augment(images, COLOURLESS, generators[0], size=12)
    large = augment(images, COLOURLESS, generators[1])
    assert small.shape == (8, 3, 12, 12)
    for name in ("crop", "flips", "angle"):
        assert torch.equal(getattr(geometry_of(small), name), getattr(geometry_of(large), name))
    assert torch.equal(torch.rand(3, generator=generators[0]), torch.rand(3, generator=generators[1]))
    assert torch.equal(augment(images, COLOURLESS, torch.Generator().manual_seed(7), size=32), large)


def test_of_what_was_computed_from_views_nothing_is_known():
    views = augment(torch.rand(2, 3, 16, 16), COLOURLESS, torch.Generator().manual_seed(0))
    assert geometry_of(views) is not None
    assert geometry_of(views[:1]) is None
    assert geometry_of(views.clone()) is None
    assert geometry_of(torch.zeros(3)) is None
