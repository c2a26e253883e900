"""The batches of a trial are put together as those of pretraining are."""

import torch

from bench.conformance.trial import AUGMENTATION, Scale, Situation, training_set, trial_batch, trial_images
from imssl.augment import augment, geometry_of
from imssl.encoder import Encoder
from imssl.method import Method, MethodSettings
from imssl.torch_seeds import torch_generator

SITUATION = Situation(Scale(images=100, batch_size=4, size=16))


class OneView(Method):
    """A view of an image, and one of a partner."""

    view_count = 1

    def partners(self, index, generator):
        return index.flip(0)


class HalfKnown(OneView):
    """The views of the images are their own; those of the partners come from `augment`."""

    def augmented(self, images, augmentation, generator):
        if torch.equal(images, trial_images(SITUATION)):
            return [images.float() / 255]
        return super().augmented(images, augmentation, generator)


def batch_of(method):
    return trial_batch(method(Encoder(), MethodSettings(), training_set(SITUATION)), SITUATION)


def test_partners_are_seen_after_the_images_and_are_others():
    batch, generator = batch_of(OneView), torch_generator(SITUATION.seed, "step", 0)
    for view, step in zip(batch.views, (0, -1), strict=True):
        expected = augment(trial_images(SITUATION, step), AUGMENTATION, generator)
        torch.testing.assert_close(view, (expected - 0.5) / 0.25)
    assert [geometry.view_size for geometry in batch.geometry] == [(16, 16)] * 2
    assert batch.partners.tolist() == [3, 2, 1, 0]


def test_geometry_is_of_all_views_or_of_none():
    batch = batch_of(HalfKnown)
    assert len(batch.views) == 2
    assert batch.geometry == ()
    assert geometry_of(augment(trial_images(SITUATION), AUGMENTATION, batch.generator)) is not None
