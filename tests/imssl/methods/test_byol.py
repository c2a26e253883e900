"""BYOL against NumPy and lightly; its target network moves as the formula says."""

import copy

import numpy as np
import pytest
import torch
from lightly.loss import NegativeCosineSimilarity

from imssl.methods.byol import Byol
from imssl.pretrain import Training
from imssl.settings.pretraining import Optimisation

SMALL = {"hidden": 24, "dimension": 12}
OPTIMISATION = Optimisation(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.0)


def stirred(method):
    """The method with a target network away from the online network, so that a mix-up would show."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in [*method.target_encoder.parameters(), *method.target_projector.parameters()]:
            weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    return method.train()


def outputs(method, batch):
    """Predictions and targets of both views, by a copy of the method."""
    method = copy.deepcopy(method)
    online = [method.predictor(method.projector(method.encoder(view).embedding)) for view in batch.views]
    target = [method.target_projector(method.target_encoder(view).embedding) for view in batch.views]
    return [[z.detach() for z in part] for part in (online, target)]


def test_the_loss_equals_numpy_and_lightly(make_method, make_batch):
    method, batch = stirred(make_method(Byol, **SMALL)), make_batch()
    online, target = outputs(method, batch)
    terms = method.losses(batch)
    expected = 0.0
    for prediction, projection in ((online[0], target[1]), (online[1], target[0])):
        q, z = (rows.double().numpy() for rows in (prediction, projection))
        q, z = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (q, z))
        expected += ((q - z) ** 2).sum(axis=1).mean()
    assert list(terms) == ["distance"]
    assert terms["distance"].item() == pytest.approx(expected, rel=1e-5)
    theirs = NegativeCosineSimilarity()
    cosines = theirs(online[0], target[1]) + theirs(online[1], target[0])
    assert terms["distance"].item() == pytest.approx(4 + 2 * cosines.item(), rel=1e-5)


def test_gradients_reach_every_online_weight_and_no_target_weight(make_method, make_batch):
    method = stirred(make_method(Byol, **SMALL))
    method.losses(make_batch())["distance"].backward()
    for name, weight in method.named_parameters():
        if name.startswith("target_"):
            assert weight.grad is None, name
        else:
            assert weight.grad is not None, name
            assert weight.grad.any(), name
    held = {id(weight) for group in method.optimizer(OPTIMISATION).param_groups for weight in group["params"]}
    assert held == {id(weight) for name, weight in method.named_parameters() if "target" not in name}


@pytest.mark.parametrize("step", [0, 4, 7])
def test_the_target_follows_with_the_momentum_of_the_step(make_method, make_batch, step):
    method = stirred(make_method(Byol, **SMALL, momentum=0.8))
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    Training(method, OPTIMISATION, steps=8).take_step(make_batch(step=step), "float32")
    momentum = 1 - 0.2 * (np.cos(np.pi * step / 8) + 1) / 2
    for part in ("encoder", "projector"):
        for name, leader in getattr(method, part).named_parameters():
            expected = momentum * before[f"target_{part}.{name}"] + (1 - momentum) * leader
            moved = getattr(method, f"target_{part}").get_parameter(name)
            torch.testing.assert_close(moved, expected.detach(), rtol=1e-5, atol=1e-6)
    statistics = method.target_encoder.bn1.running_mean  # of its own images
    assert not torch.equal(statistics, before["target_encoder.bn1.running_mean"])


def test_the_target_starts_as_a_copy(make_method):
    method = make_method(Byol, **SMALL)
    for part in ("encoder", "projector"):
        follower, leader = getattr(method, f"target_{part}"), getattr(method, part)
        assert all(map(torch.equal, follower.parameters(), leader.parameters()))
