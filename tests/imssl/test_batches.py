"""What a method is given beside views: patients, partners, geometry, and a clean pass after each epoch."""

from typing import ClassVar

import pytest
import torch

from imssl.augment import geometry_of
from imssl.errors import UserError
from imssl.features import evaluation_input
from imssl.groups import GroupMembers
from imssl.losses import negative_cosine
from imssl.method import Method, takes_clean_pass
from imssl.training_images import TrainingImages

STEPS = 12  # of three epochs


class Aligned(Method):
    """Every view's embedding towards the first one's; it keeps what it was given."""

    batches: ClassVar[list] = []

    def losses(self, batch):
        self.batches.append(batch)
        first, *others = (self.encoder(view).embedding for view in batch.views)
        return {"cosine": torch.stack([negative_cosine(other, first.detach()) for other in others]).mean()}


class Paired(Aligned):
    """A view of an image and one of another image of its patient."""

    view_count = 1

    def __init__(self, encoder, settings, training_set):
        super().__init__(encoder, settings, training_set)
        self.patients = GroupMembers.of(training_set.groups)

    def partners(self, index, generator):
        return self.patients.another(index, generator)


@pytest.fixture(autouse=True)
def no_batches():
    Aligned.batches.clear()


def patients_of(recipe):
    prepared = recipe.prepared
    return prepared.samples["patient"].to_numpy()[prepared.indices("train")]


def test_groups_are_patients_and_their_codes_no_names(recipe, pretrain_tiny):
    _, training = pretrain_tiny(recipe(), Aligned, {})
    groups, patients = training.method.training_set.groups, patients_of(recipe())
    assert groups.shape == (len(patients),)
    assert torch.equal(groups[:, None] == groups, torch.from_numpy(patients[:, None] == patients))
    for batch in Aligned.batches:
        assert torch.equal(batch.group, groups[batch.index])
        assert batch.partners is None


def test_views_of_partners_follow_those_of_the_images(recipe, pretrain_tiny, assert_resumes):
    pretrain_tiny(recipe(epochs=1), Aligned, {}, name="plain")
    plain = list(Aligned.batches)
    Aligned.batches.clear()
    pretrained, _ = pretrain_tiny(recipe(epochs=1), Paired, {}, name="paired")
    patients = patients_of(recipe())
    for batch, without in zip(Aligned.batches, plain, strict=True):
        index, partners = batch.index.numpy(), batch.partners.numpy()
        assert (patients[index] == patients[partners]).all()
        assert (index != partners).mean() > 0.8  # few have only one image here
        assert torch.equal(batch.views[0], without.views[0])  # the same draws for every method
        assert len(batch.views) == len(batch.geometry) == 2
        assert torch.equal(batch.index, without.index)
    assert pretrained.images_seen == len(plain) * 24
    assert_resumes(recipe(), Paired, {}, [3, 8])


def test_the_view_of_a_partner_is_of_its_pixels(recipe, pretrain_tiny):
    class Unchanged(Paired):
        def augmented(self, images, augmentation, generator):
            return (images.float() / 255,)

    pretrain_tiny(recipe(epochs=1), Unchanged, {})
    prepared = recipe().prepared
    images = TrainingImages(prepared.images, prepared.indices("train"), torch.device("cpu"))
    for batch in Aligned.batches:
        assert torch.equal(batch.views[1], evaluation_input(images.take(batch.partners), prepared))
        assert batch.geometry == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda index: index[:-1], r"\(23,\) torch.int64"),
        (lambda index: index.float(), "float32"),
        (lambda index: index + 10_000, r"from 0 to \d+; it returned 10\d\d\d to"),
        (lambda index: index - 10_000, "it returned -"),
        (lambda index: index.tolist(), r"it returned \["),
    ],
)
def test_partners_that_are_no_training_images_are_refused(recipe, pretrain_tiny, wrong, message):
    class Wrong(Aligned):
        def partners(self, index, generator):
            return wrong(index)

    with pytest.raises(UserError, match=rf"Wrong.partners\(index, generator\) must return .*{message}"):
        pretrain_tiny(recipe(epochs=1), Wrong, {})


def test_the_geometry_of_default_views_is_known(recipe, pretrain_tiny):
    pretrain_tiny(recipe(epochs=1), Aligned, {})
    for batch in Aligned.batches:
        assert [geometry.view_size for geometry in batch.geometry] == [(16, 16)] * 2
        assert geometry_of(batch.views[0]) is None  # normalised: another tensor than was augmented
        assert not torch.equal(batch.geometry[0].crop, batch.geometry[1].crop)


class Resting(Aligned):
    """The stem gets no gradient for a while; all gradients are clipped to nearly nothing at the end."""

    calls: ClassVar[list] = []

    def before_step(self, batch):
        assert not torch.is_grad_enabled()
        self.calls.append(batch.step)
        assert all(weight.grad is not None for weight in self.encoder.parameters())
        if batch.step < 4:
            self.encoder.conv1.weight.grad = None


def test_before_step_stands_between_gradient_and_step(recipe, pretrain_tiny, assert_resumes):
    stems = []

    class Watched(Resting):
        def after_step(self, batch):
            stems.append(self.encoder.conv1.weight.clone())

    Resting.calls.clear()
    pretrain_tiny(recipe(), Watched, {})
    assert Resting.calls == list(range(STEPS))
    assert [torch.equal(stem, stems[0]) for stem in stems] == [step < 4 for step in range(STEPS)]
    assert_resumes(recipe(), Resting, {}, [2, 7])


class Centred(Aligned):
    """Distance to the mean feature of all training images, which a clean pass after each epoch gives."""

    passes: ClassVar[list] = []

    def __init__(self, encoder, settings, training_set):
        super().__init__(encoder, settings, training_set)
        self.register_buffer("centre", torch.zeros(encoder.width))

    def losses(self, batch):
        embedding = self.encoder(batch.views[0]).embedding
        return {"distance": (embedding - self.centre).square().mean()}

    def after_epoch(self, epoch, clean_batches):
        self.encoder.eval()
        features = [self.encoder(batch.images).embedding for batch in clean_batches]
        self.centre.copy_(torch.cat(features).mean(dim=0))
        # Evaluation mode is left on: the loop puts the method into training mode again.
        assert not torch.is_grad_enabled()
        self.passes.append((epoch, list(clean_batches)))


def test_a_clean_pass_gives_every_training_image_once_and_as_it_is(recipe, pretrain_tiny, assert_resumes):
    Centred.passes.clear()
    _, training = pretrain_tiny(recipe(), Centred, {})
    prepared = recipe().prepared
    rows = prepared.indices("train")
    images = TrainingImages(prepared.images, rows, torch.device("cpu"))
    assert [epoch for epoch, _ in Centred.passes] == [0, 1, 2]
    for _, batches in Centred.passes:
        assert torch.equal(torch.cat([batch.index for batch in batches]), torch.arange(len(rows)))
        assert all(batch.views == () for batch in batches)
        expected = evaluation_input(images.take(torch.arange(len(rows))), prepared)
        assert torch.equal(torch.cat([batch.images for batch in batches]), expected)
        groups = torch.cat([batch.group for batch in batches])
        assert torch.equal(groups, training.method.training_set.groups)
    assert training.method.encoder.training is False  # evaluated since
    assert_resumes(recipe(), Centred, {}, [4, 6, 9])


def test_passes_can_be_counted_and_repeated(recipe, pretrain_tiny):
    class Twice(Aligned):
        def after_epoch(self, epoch, clean_batches):
            first, second = ([torch.rand(2, generator=b.generator) for b in clean_batches] for _ in range(2))
            assert len(first) == len(clean_batches)
            assert all(map(torch.equal, first, second))
            assert not torch.equal(first[0], first[1])

    pretrain_tiny(recipe(epochs=1), Twice, {})


def test_after_epoch_may_take_the_epoch_alone(recipe, pretrain_tiny):
    epochs = []

    class Before(Aligned):
        def after_epoch(self, epoch):
            assert not torch.is_grad_enabled()
            epochs.append(epoch)

    pretrain_tiny(recipe(), Before, {})
    assert epochs == [0, 1, 2]
    assert [takes_clean_pass(kind) for kind in (Before, Centred, Aligned)] == [False, True, False]
