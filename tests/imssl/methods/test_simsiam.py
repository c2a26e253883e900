"""SimSiam against NumPy and lightly; where its gradient stops, and the predictor's steady rate."""

import copy

import numpy as np
import pytest
import torch
from lightly.loss import NegativeCosineSimilarity

from imssl.methods.simsiam import Simsiam
from imssl.pretrain import Training
from imssl.settings.pretraining import Optimisation

SMALL = {"dimension": 16, "bottleneck": 8}
OPTIMISATION = Optimisation(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.0)


def test_the_loss_and_its_gradient_equal_lightly_and_numpy(make_method, make_batch):
    method, batch = make_method(Simsiam, **SMALL).train(), make_batch()
    reference = copy.deepcopy(method)
    loss = method.losses(batch)["similarity"]
    z = [reference.projector(reference.encoder(view).embedding) for view in batch.views]
    p = [reference.predictor(projection) for projection in z]
    theirs = NegativeCosineSimilarity()
    expected = 0.5 * (theirs(p[0], z[1].detach()) + theirs(p[1], z[0].detach()))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    cosines = []
    for prediction, projection in ((p[0], z[1]), (p[1], z[0])):
        a, b = (rows.detach().double().numpy() for rows in (prediction, projection))
        cosines.append((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
    assert loss.item() == pytest.approx(-np.mean(cosines), rel=1e-5)
    loss.backward()
    expected.backward()
    for (name, weight), same in zip(method.named_parameters(), reference.parameters(), strict=True):
        assert weight.grad.any(), name
        torch.testing.assert_close(weight.grad, same.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_no_gradient_flows_through_the_target(make_method, make_batch):
    """With a predictor that gives back a constant, only the target could move the encoder; it must not."""
    method = make_method(Simsiam, **SMALL).train()
    with torch.no_grad():
        method.predictor[-1].weight.zero_()
    method.losses(make_batch())["similarity"].backward()
    assert not any(weight.grad.any() for weight in method.encoder.parameters())


def test_projections_are_normalised_over_the_batch(make_method, make_batch):
    method, batch = make_method(Simsiam, **SMALL).train(), make_batch(size=64)
    projections = method.projector(method.encoder(batch.views[0]).embedding)
    torch.testing.assert_close(projections.mean(dim=0), torch.zeros(16), rtol=0, atol=1e-5)
    torch.testing.assert_close(projections.var(dim=0, unbiased=False), torch.ones(16), rtol=0, atol=0.1)


def test_the_predictor_keeps_its_rate_and_the_rest_follows_the_schedule(make_method, make_batch):
    method = make_method(Simsiam, **SMALL).train()
    training = Training(method, OPTIMISATION, steps=8)
    rates = []
    for step in range(8):
        training.take_step(make_batch(step=step), "float32")
        rates.append([group["lr"] for group in training.optimizer.param_groups])
    cosine = [0.1 * (1 + np.cos(np.pi * step / 8)) / 2 for step in range(8)]
    assert [rest for rest, _ in rates] == pytest.approx(cosine)
    assert [predictor for _, predictor in rates] == [0.1] * 8
    rest, predictor = training.optimizer.param_groups
    assert {id(w) for w in predictor["params"]} == {id(w) for w in method.predictor.parameters()}
    assert len(rest["params"]) + len(predictor["params"]) == len(list(method.parameters()))
    assert training.trained_parameters == sum(weight.numel() for weight in method.parameters())
