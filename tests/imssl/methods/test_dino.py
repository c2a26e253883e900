"""DINO against lightly and NumPy: its loss and crops, its centre, its teacher, its gradients."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightly.loss import DINOLoss

from imssl.augment import augment, geometry_of
from imssl.method import Batch
from imssl.methods.dino import Dino
from imssl.pretrain import Training
from imssl.settings.augmentation import Augmentation
from imssl.settings.pretraining import Optimisation

SMALL = {"hidden": 24, "bottleneck": 8, "prototypes": 20, "small_views": 3}
OPTIMISATION = Optimisation(
    learning_rate=0.1, momentum=0.0, weight_decay=0.0, schedule="constant", warmup=0.0
)


@pytest.fixture
def made(make_method):
    """A method whose teacher is away from the student and whose centre is not zero."""

    def make(**settings):
        method = make_method(Dino, **{**SMALL, **settings}).train()
        draw = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in [*method.teacher_encoder.parameters(), *method.teacher_head.parameters()]:
                weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
            method.centre.copy_(0.3 * torch.randn(20, generator=draw))
        return method

    return make


@pytest.fixture
def crops():
    """A batch of two large views and three small ones."""

    def make(step=0, small=3):
        draw = torch.Generator().manual_seed(step)
        images = torch.randn(12, 3, 32, 32, generator=draw)
        large = [images + 0.3 * torch.randn(images.shape, generator=draw) for _ in range(2)]
        little = [torch.randn(12, 3, 16, 16, generator=draw) for _ in range(small)]
        return Batch((*large, *little), images, torch.arange(12), draw, step, step / 8)

    return make


def scores(encoder, head, views):
    """Cosines with the prototypes, by view, as the paper's head has them."""
    if not views:
        return []
    z = head.layers(encoder(torch.cat(views)).embedding)
    z, prototypes = (rows / rows.norm(dim=1, keepdim=True) for rows in (z, head.prototypes))
    return list((z @ prototypes.T).detach().chunk(len(views)))


@pytest.mark.parametrize("small", [3, 0])
def test_the_loss_equals_lightly_and_numpy(made, crops, small):
    method, batch = made(small_views=small), crops(small=small)
    other = copy.deepcopy(method)
    loss = method.losses(batch)["cross_entropy"].item()
    large, little = batch.views[:2], batch.views[2:]
    student = scores(other.encoder, other.head, large) + scores(other.encoder, other.head, little)
    teacher = scores(other.teacher_encoder, other.teacher_head, large)
    theirs = DINOLoss(output_dim=20, teacher_temp=0.04, student_temp=0.1, warmup_teacher_temp_epochs=0)
    theirs.center.copy_(other.centre)
    terms = []
    for i, t in enumerate(teacher):
        sharp = np.exp((t.double().numpy() - other.centre.double().numpy()) / 0.04)
        sharp /= sharp.sum(axis=1, keepdims=True)
        for j, s in enumerate(student):
            if i != j:
                soft = np.exp(s.double().numpy() / 0.1)
                terms.append(-(sharp * np.log(soft / soft.sum(axis=1, keepdims=True))).sum(axis=1).mean())
    assert loss == pytest.approx(np.mean(terms), rel=1e-4)
    assert loss == pytest.approx(theirs(teacher, student, teacher_temp=0.04).item(), rel=1e-4)


def test_small_crops_are_small_and_show_little(make_method):
    method = make_method(Dino, **SMALL, pixels=32)
    images = torch.randint(256, (64, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    views = method.augmented(images, Augmentation(), torch.Generator().manual_seed(1))
    assert [view.shape[-1] for view in views] == [32, 32, 16, 16, 16]
    draw = torch.Generator().manual_seed(1)
    for view in views[:2]:  # the same draws as every method's
        assert torch.equal(view, augment(images, Augmentation(), draw))
    shares = torch.stack([geometry_of(view).crop[:, 2:].prod(dim=1) / 32**2 for view in views[2:]])
    assert 0.03 < shares.min() < 0.1
    assert 0.35 < shares.max() < 0.45
    views = make_method(Dino, **SMALL, small_size=12).augmented(images, Augmentation(), draw)
    assert views[2].shape == (64, 3, 12, 12)


@pytest.mark.parametrize("step", [0, 5])
def test_centre_and_teacher_move_as_the_formulas_say(made, crops, step):
    method, batch = made(momentum=0.8, centre_momentum=0.7), crops(step)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    still = copy.deepcopy(method)
    teacher = scores(still.teacher_encoder, still.teacher_head, batch.views[:2])
    Training(method, OPTIMISATION, steps=8).take_step(batch, "float32")
    expected = 0.7 * before["centre"] + 0.3 * torch.cat(teacher).mean(dim=0)
    torch.testing.assert_close(method.centre, expected, rtol=1e-4, atol=1e-5)
    momentum = 1 - 0.2 * (np.cos(np.pi * step / 8) + 1) / 2
    for part in ("encoder", "head"):
        for name, leader in getattr(method, part).named_parameters():
            follower = getattr(method, f"teacher_{part}").get_parameter(name)
            old = before[f"teacher_{part}.{name}"]
            torch.testing.assert_close(follower, momentum * old + (1 - momentum) * leader.detach())


def test_prototypes_rest_for_an_epoch_and_gradients_are_clipped(made, crops):
    # 1000 training images in batches of 16: an epoch has 62 steps.
    for step, rests in ((0, True), (61, True), (62, False)):
        method = made(largest_gradient=0.01)
        before = {name: weight.detach().clone() for name, weight in method.named_parameters()}
        batch = replace(crops(), step=step, progress=step / 100)
        Training(method, OPTIMISATION, steps=100).take_step(batch, "float32")
        assert torch.equal(method.head.prototypes, before["head.prototypes"]) == rests
        moves = [
            (weight - before[name]).norm().item()
            for name, weight in method.named_parameters()
            if not name.startswith("teacher_")
        ]
        assert max(moves) <= 0.1 * 0.01 * 1.001  # learning rate times the largest gradient
        assert sum(move > 0 for move in moves) > 10
