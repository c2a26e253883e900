"""VICReg against lightly and NumPy, through encoder and expander."""

import copy

import numpy as np
import pytest
import torch
from lightly.loss import VICRegLoss

from imssl.methods.vicreg import Vicreg

WEIGHTS = {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}


def expanded(method, batch):
    """Projections of both views, by a copy of the method."""
    method = copy.deepcopy(method)
    return method, [method.expander(method.encoder(view).embedding) for view in batch.views]


@pytest.mark.parametrize("weights", [WEIGHTS, {"invariance": 3.0, "variance": 0.5, "covariance": 7.0}])
def test_the_loss_and_its_gradient_equal_lightly(make_method, make_batch, weights):
    method, batch = make_method(Vicreg, expansion=24, **weights).train(), make_batch()
    other, projections = expanded(method, batch)
    loss = sum(method.losses(batch).values())
    expected = VICRegLoss(*weights.values())(*projections)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    for (name, weight), same in zip(method.named_parameters(), other.parameters(), strict=True):
        assert weight.grad.any(), name
        torch.testing.assert_close(weight.grad, same.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_each_term_equals_numpy(make_method, make_batch):
    method, batch = make_method(Vicreg, expansion=24).train(), make_batch()
    _, projections = expanded(method, batch)
    first, second = (z.detach().double().numpy() for z in projections)
    covariances = [np.cov(z.T) for z in (first, second)]
    hinges = [np.maximum(0, 1 - np.sqrt(np.diag(c) + 1e-4)).mean() for c in covariances]
    off = [((c**2).sum() - (np.diag(c) ** 2).sum()) / 24 for c in covariances]
    terms = {name: term.item() for name, term in method.losses(batch).items()}
    assert list(terms) == list(WEIGHTS)
    assert terms["invariance"] == pytest.approx(25 * ((first - second) ** 2).mean(), rel=1e-5)
    assert terms["variance"] == pytest.approx(25 * np.mean(hinges), rel=1e-5)
    assert terms["covariance"] == pytest.approx(sum(off), rel=1e-4)
