"""The contract is wide enough for methods quite unlike MoCo: each kind of need, by a small method."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

import imssl.pretrain
from imssl.augment import augment
from imssl.features import fingerprint
from imssl.losses import negative_cosine
from imssl.method import Method, MethodSettings
from imssl.optimisation import learning_rate_factor, update, weight_groups
from imssl.settings.augmentation import Augmentation

STEPS = 12  # of three epochs


class Alignment(Method):
    """Every view's embedding towards the first one's: the least that a method can be."""

    def losses(self, batch):
        first, *others = (self.encoder(view).embedding for view in batch.views)
        return {"cosine": torch.stack([negative_cosine(other, first.detach()) for other in others]).mean()}


def watched(kind, batches):
    """The method, which also keeps every batch that it is given."""

    class Watched(kind):
        def losses(self, batch):
            batches.append(batch)
            return super().losses(batch)

    return Watched


class Prototypes(Method):
    """Views must agree on a soft cluster; prototypes have unit length, and rest for a quarter of the run."""

    FROZEN = 0.25
    seen: ClassVar[list[torch.Tensor]] = []

    def __init__(self, encoder, settings, training_set):
        super().__init__(encoder, settings, training_set)
        self.prototypes = nn.Linear(encoder.width, 6, bias=False)
        nn.init.orthogonal_(self.prototypes.weight)

    def losses(self, batch):
        weight = self.prototypes.weight
        weight = weight.detach() if batch.progress < self.FROZEN else weight
        first, second = (F.normalize(self.encoder(view).embedding, dim=1) @ weight.T for view in batch.views)
        codes = F.softmax(second.detach() / 0.05, dim=1)
        return {"agreement": F.cross_entropy(first / 0.1, codes)}

    def after_step(self, batch):
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))
        self.seen.append(self.prototypes.weight.clone())


def test_prototypes_are_normalised_after_each_step_and_rest_at_first(recipe, assert_resumes, pretrain_tiny):
    Prototypes.seen.clear()
    pretrain_tiny(recipe(), Prototypes, {})
    moved = [not torch.allclose(weight, Prototypes.seen[0], atol=1e-6) for weight in Prototypes.seen]
    assert moved == [step >= Prototypes.FROZEN * STEPS for step in range(STEPS)]
    for weight in Prototypes.seen:
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(6))
    assert_resumes(recipe(), Prototypes, {}, [2, 7])


class ManyViewsSettings(MethodSettings):
    views: int = Field(default=4, ge=2)


class ManyViews(Alignment):
    settings_class = ManyViewsSettings

    def __init__(self, encoder, settings, training_set):
        super().__init__(encoder, settings, training_set)
        self.view_count = settings.views


@pytest.mark.parametrize("views", [4, 6])
def test_a_setting_may_ask_for_more_views_and_the_first_ones_stay_the_same(recipe, pretrain_tiny, views):
    two, more = [], []
    pretrain_tiny(recipe(epochs=1), watched(Alignment, two), {}, name="two")
    pretrain_tiny(recipe(epochs=1), watched(ManyViews, more), {"views": views}, name="more")
    assert {len(batch.views) for batch in more} == {views}
    first = more[0].views
    assert not any(torch.equal(one, other) for i, one in enumerate(first) for other in first[:i])
    for one, other in zip(two[0].views, first[:2], strict=True):
        assert torch.equal(one, other)


class NoViews(Method):
    """Works on the images as they are."""

    view_count = 0

    def losses(self, batch):
        assert batch.views == ()
        return {"size": self.encoder(batch.images).embedding.square().mean()}


def test_a_method_may_do_without_views(recipe, pretrain_tiny):
    pretrained, _ = pretrain_tiny(recipe(), NoViews, {})
    assert pretrained.history[-1]["size"] < 0.5 * pretrained.history[0]["size"]


class MultiCrop(Alignment):
    """Two whole views, and four small ones of half the side (as in SwAV and DINO)."""

    SMALL = Augmentation(crop_scale=(0.1, 0.4))

    def augmented(self, images, augmentation, generator):
        small = [augment(images, self.SMALL, generator) for _ in range(4)]
        halved = (F.avg_pool2d(view, 2) for view in small)
        return *super().augmented(images, augmentation, generator), *halved


def test_views_may_differ_in_size(recipe, histology, pretrain_tiny, assert_resumes):
    batches = []
    pretrain_tiny(recipe(epochs=1), watched(MultiCrop, batches), {})
    sizes = [tuple(view.shape) for view in batches[0].views]
    assert sizes == [(24, 3, 16, 16)] * 2 + [(24, 3, 8, 8)] * 4
    mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in (histology.card.channel_mean, histology.card.channel_std)
    )
    for view in batches[0].views:  # normalised, whatever the size: back in [0, 1] without it
        pixels = view * std + mean
        assert -1e-5 <= pixels.min() < pixels.max() <= 1 + 1e-5
    assert_resumes(recipe(), MultiCrop, {}, [5])


class Noisy(Alignment):
    """One image and a copy with noise, instead of the protocol's views; what is more, each image twice."""

    def augmented(self, images, augmentation, generator):
        plain = images.float().div(255).repeat(2, 1, 1, 1)
        return plain, (plain + 0.1 * torch.randn(plain.shape, generator=generator)).clamp(0, 1)


def test_own_views_are_seeded_and_do_not_count_as_images(recipe, pretrain_tiny, assert_resumes):
    batches = []
    pretrained, _ = pretrain_tiny(recipe(), watched(Noisy, batches), {})
    assert batches[0].views[0].shape == (48, 3, 16, 16)
    torch.testing.assert_close(batches[0].views[0], batches[0].images.repeat(2, 1, 1, 1))
    assert pretrained.images_seen == STEPS * 24
    assert_resumes(recipe(), Noisy, {}, [3, 10])


class Clipped(Alignment):
    """AdamW: no decay on biases and norms, a head at a steady tenth of the rate, clipped gradients."""

    LIMIT = 1e-3
    norms: ClassVar[list[float]] = []

    def __init__(self, encoder, settings, training_set):
        super().__init__(encoder, settings, training_set)
        self.head = nn.Linear(encoder.width, 8)
        self.unused = nn.Linear(8, 8)  # wants a gradient, but no optimiser holds it

    def losses(self, batch):
        return {
            **super().losses(batch),
            "head": self.head(self.encoder(batch.images).embedding).square().mean(),
        }

    def optimizer(self, optimisation):
        groups = weight_groups(self.encoder, weight_decay=0.1)
        head = {"params": list(self.head.parameters()), "lr": 1e-4, "weight_decay": 0.0, "name": "head"}
        optimizer = torch.optim.AdamW([*groups, head], lr=1e-3)
        optimizer.register_step_pre_hook(self.clip)
        return optimizer

    def clip(self, optimizer, *_arguments):
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        nn.utils.clip_grad_norm_(weights, self.LIMIT)
        self.norms.append(torch.stack([weight.grad.norm() for weight in weights]).norm().item())

    def learning_rate_factor(self, optimisation, progress, group):
        return 1.0 if group.get("name") == "head" else 1 - progress


def test_own_optimiser_groups_schedule_and_clipping(recipe, pretrain_tiny, assert_resumes):
    Clipped.norms.clear()
    pretrained, training = pretrain_tiny(recipe(), Clipped, {})
    kernels, vectors, head = training.optimizer.param_groups
    encoder = pretrained.encoder
    assert {weight.ndim for weight in kernels["params"]} == {4}
    assert {weight.ndim for weight in vectors["params"]} == {1}
    assert len(kernels["params"]) + len(vectors["params"]) == len(list(encoder.parameters()))
    assert [group["weight_decay"] for group in (kernels, vectors, head)] == [0.1, 0.0, 0.0]
    rate = 1e-3 * (1 - (STEPS - 1) / STEPS)
    assert [group["lr"] for group in (kernels, vectors, head)] == pytest.approx([rate, rate, 1e-4])
    assert pretrained.history[-1]["learning_rate"] == pytest.approx(rate)
    assert len(Clipped.norms) == STEPS
    assert max(Clipped.norms) <= 1.001 * Clipped.LIMIT
    in_encoder = sum(weight.numel() for weight in encoder.parameters())
    assert pretrained.trained_parameters == in_encoder + 64 * 8 + 8
    assert_resumes(recipe(), Clipped, {}, [1, 6])


class Lars(torch.optim.Optimizer):
    """Momentum on steps that are as long as a share of each weight (You et al. 2017)."""

    def __init__(self, weights, lr):
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                trust = weight.norm() / weight.grad.norm().clamp(min=1e-9) if weight.ndim > 1 else 1.0
                velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
                velocity.mul_(0.9).add_(weight.grad * trust)
                weight.sub_(group["lr"] * velocity)


class LayerWise(Alignment):
    def optimizer(self, optimisation):
        return Lars(self.encoder.parameters(), lr=0.01)


def test_an_optimiser_of_ones_own_resumes_with_its_state(recipe, assert_resumes):
    _, training = assert_resumes(recipe(), LayerWise, {}, [2, 9])
    assert all("velocity" in state for state in training.optimizer.state.values())


class Sam(torch.optim.SGD):
    """Sharpness-aware minimisation (Foret et al. 2021): the gradient is that of a step uphill."""

    @torch.no_grad()
    def step(self, closure):
        weights = [weight for group in self.param_groups for weight in group["params"]]
        before = [weight.clone() for weight in weights]
        norm = torch.stack([weight.grad.norm() for weight in weights]).norm()
        for weight in weights:
            weight.add_(0.05 * weight.grad / norm)
        closure()
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)
        super().step()


class Flat(Alignment):
    def optimizer(self, optimisation):
        return Sam(self.encoder.parameters(), lr=0.01, momentum=0.9)


def test_an_optimiser_that_demands_a_closure_resumes(recipe, assert_resumes):
    assert_resumes(recipe(), Flat, {}, [2, 9])


def test_a_closure_gives_loss_and_gradient_where_the_weights_are():
    """The gradient of w squared / 2 is w: SAM moves by the rate times w + .05, SGD by the rate times w."""
    for optimizer_class, uphill, passes in ((Sam, 0.05, 1), (torch.optim.SGD, 0.0, 0)):
        weight = torch.nn.Parameter(torch.tensor(2.0))
        optimizer = optimizer_class([weight], lr=0.1)
        called = []

        def loss_and_gradient(weight=weight, optimizer=optimizer, called=called):
            loss = weight**2 / 2
            optimizer.zero_grad()
            loss.backward()
            called.append(loss.item())
            return loss

        loss_and_gradient()
        update(optimizer, loss_and_gradient)
        assert weight.item() == pytest.approx(2 - 0.1 * (2 + uphill))
        assert len(called) == 1 + passes


class Centred(Method):
    """What must survive a kill and is neither weight nor buffer: a centre, a count and words."""

    def __init__(self, encoder, settings, training_set):
        super().__init__(encoder, settings, training_set)
        self.centre = torch.zeros(encoder.width)
        self.passes = 0
        self.words = []
        self.gradients = []

    def losses(self, batch):
        embedding = self.encoder(batch.views[0]).embedding
        self.latest = embedding.detach().mean(dim=0)
        return {"distance": (embedding - self.centre).square().mean() * (1 + self.passes)}

    def after_step(self, batch):
        self.gradients.append(torch.is_grad_enabled())
        self.centre = 0.5 * self.centre + 0.5 * self.latest

    def after_epoch(self, epoch):
        self.gradients.append(torch.is_grad_enabled())
        assert epoch == self.passes
        self.passes += 1
        self.words.append(f"pass {epoch}")

    def get_extra_state(self):
        return {"centre": self.centre, "passes": self.passes, "words": self.words}

    def set_extra_state(self, state):
        self.centre, self.passes, self.words = state["centre"], state["passes"], state["words"]


class Forgetful(Centred):
    """Says nothing of its state."""

    def get_extra_state(self):
        return {}

    def set_extra_state(self, state):
        self.passes = 1  # as after the first epoch, so that only the centre is lost


def test_extra_state_survives_a_kill(recipe, assert_resumes):
    _, training = assert_resumes(recipe(), Centred, {}, [3, 5, 9])
    method = training.method
    assert (method.passes, method.words) == (3, ["pass 0", "pass 1", "pass 2"])
    assert len(method.gradients) == STEPS + 3
    assert not any(method.gradients)


def test_state_that_is_not_handed_over_is_lost(recipe, pretrain_tiny, killed, monkeypatch):
    monkeypatch.setattr(imssl.pretrain, "CHECKPOINT_SECONDS", 0.0)
    whole, _ = pretrain_tiny(recipe(), Forgetful, {}, name="whole")
    again, *_ = killed(recipe(), Forgetful, {}, [6])
    assert fingerprint(again.encoder) != fingerprint(whole.encoder)


def test_what_a_method_must_bring_is_said_in_its_name(make_method, make_batch):
    with pytest.raises(TypeError, match=r"Method does not define losses\(batch\)"):
        make_method(Method).losses(make_batch())


def test_the_default_schedule_is_the_same_for_every_group(recipe, make_method):
    method, optimisation = make_method(Alignment), recipe().settings.optimisation
    factors = {method.learning_rate_factor(optimisation, 0.55, {"name": name}) for name in ("one", "other")}
    assert factors == {learning_rate_factor(optimisation, 0.55)}
