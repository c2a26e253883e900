"""VICRegL against lightly and NumPy, on maps whose places are matched by where the views were cut."""

import copy

import numpy as np
import pytest
import torch
from lightly.loss import VICRegLLoss

from imssl.augment import augment, geometry_of
from imssl.geometry import Geometry, cell_centres
from imssl.method import Batch
from imssl.methods.vicregl import Vicregl, closest_pairs, distances_in_image
from imssl.settings.augmentation import Augmentation

SMALL = {"expansion": 24, "local_expansion": 12, "block": 2}
# Turned a little, so that no two distances are equal, but not so far that one of the 4x4 places is black.
TURNED = Augmentation(rotation_degrees=10.0, vertical_flip=0.5)


def cut(augmentation=TURNED, size=12, pixels=32):
    """A batch of two views with their geometry."""
    draw = torch.Generator().manual_seed(3)
    images = torch.rand(size, 3, pixels, pixels, generator=draw)
    views = [augment(images, augmentation, draw) for _ in range(2)]
    geometry = tuple(geometry_of(view) for view in views)
    return Batch(tuple(views), images, torch.arange(size), draw, 0, 0.0, geometry=geometry)


@pytest.mark.parametrize("share", [0.75, 0.2])
def test_the_loss_equals_lightly(make_method, share):
    method, batch = make_method(Vicregl, **SMALL, global_share=share, pixels=32).train(), cut()
    other = copy.deepcopy(method)
    terms = method.losses(batch)
    features = [other.encoder(view) for view in batch.views]
    side = features[0].block(2).shape[-1]
    assert side == 4
    views, grids = [], []
    for part, geometry in zip(features, batch.geometry, strict=True):
        places = other.expanded_places(part.block(2)).unflatten(1, (side, side))
        views.append((other.expander(part.embedding), places))
        centres = geometry.in_image(cell_centres((32, 32), side, side))
        grids.append(centres.float().unflatten(1, (side, side)))
    theirs = VICRegLLoss(alpha=share, num_matches=(7, 7))(views, grids)  # 0.4 of 16 places, rounded up
    assert list(terms) == ["images", "by_location", "by_feature"]
    assert sum(terms.values()).item() == pytest.approx(theirs.item(), rel=1e-4)


def test_the_terms_are_those_of_the_paper_by_numpy(make_method):
    method = make_method(Vicregl, **SMALL)
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(2, 10, 5, 6))
    expected = 25 * ((first - second) ** 2).mean()
    for z in (first, second):
        deviation = np.sqrt(z.var(axis=0, ddof=1) + 1e-4)
        expected += 25 * np.maximum(0, 1 - deviation).mean() / 2
        for place in range(5):
            covariance = np.cov(z[:, place].T)
            off = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
            expected += off / 6 / 5 / 2
    assert method.vicreg(torch.tensor(first), torch.tensor(second)).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_places_are_as_far_apart_as_their_centres_in_the_image():
    flips = torch.tensor([[False, False]])
    whole = Geometry(torch.tensor([[0, 0, 8, 8]]), flips, torch.zeros(1), (8, 8), (8, 8))
    corner = Geometry(torch.tensor([[0, 4, 4, 4]]), flips | True, torch.zeros(1), (8, 8), (8, 8))
    # Centres of the whole: 2 and 6; of the upper right corner, mirrored both ways: x 7 and 5, y 3 and 1.
    at = np.array([(2, 2), (6, 2), (2, 6), (6, 6)])
    other = np.array([(7, 3), (5, 3), (7, 1), (5, 1)])
    expected = np.sqrt(((at[:, None] - other) ** 2).sum(axis=2))
    np.testing.assert_allclose(distances_in_image(whole, corner, 2)[0].numpy(), expected, rtol=1e-5)


def test_black_corners_of_a_rotation_match_nothing():
    flips = torch.zeros(1, 2, dtype=torch.bool)
    straight, turned = (
        Geometry(torch.tensor([[0, 0, 32, 32]]), flips, torch.tensor([angle]), (32, 32), (32, 32))
        for angle in (0.0, 45.0)
    )
    apart = distances_in_image(straight, turned, 4)[0]
    hidden = apart.isinf().all(dim=0).view(4, 4)
    assert hidden.nonzero().tolist() == [[0, 0], [0, 3], [3, 0], [3, 3]]
    assert not apart.isinf().all(dim=1).any()


def test_the_closest_pairs_come_first():
    distances = torch.tensor([[[5.0, 1.0], [0.5, 7.0], [9.0, 8.0]]])
    first, second = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[10.0], [20.0]]])
    best, partners = closest_pairs(first, second, distances, 2)
    assert best.flatten().tolist() == [2.0, 1.0]
    assert partners.flatten().tolist() == [10.0, 20.0]


def test_matched_places_of_equal_crops_are_the_places_themselves(make_method):
    same = cut()
    batch = Batch((same.views[0],) * 2, same.images, same.index, same.generator, 0, 0.0,
                  geometry=(same.geometry[0],) * 2)  # fmt: skip
    method = make_method(Vicregl, **SMALL, variance=0.0, covariance=0.0, pixels=32).eval()
    assert sum(method.losses(batch).values()).item() == pytest.approx(0, abs=1e-6)
