"""SimCLR against lightly, through encoder and head."""

import copy

import pytest
import torch
from lightly.loss import NTXentLoss
from pydantic import ValidationError

from imssl.methods.simclr import Simclr, SimclrSettings

SMALL = {"hidden": 32, "dimension": 16}


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_and_its_gradient_equal_lightly(make_method, make_batch, temperature):
    method, batch = make_method(Simclr, **SMALL, temperature=temperature).train(), make_batch()
    other = copy.deepcopy(method)
    terms = method.losses(batch)
    projections = other.head(other.encoder(torch.cat(batch.views)).embedding)
    expected = NTXentLoss(temperature)(*projections.chunk(2))
    assert list(terms) == ["contrastive"]
    torch.testing.assert_close(terms["contrastive"], expected, rtol=1e-5, atol=1e-6)
    terms["contrastive"].backward()
    expected.backward()
    for (name, weight), same in zip(method.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, same.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_the_order_of_the_views_does_not_matter(make_method, make_batch):
    method, batch = make_method(Simclr, **SMALL).eval(), make_batch()
    turned = type(batch)(batch.views[::-1], batch.images, batch.index, batch.generator, 0, 0.0)
    loss, other = (method.losses(b)["contrastive"].item() for b in (batch, turned))
    assert loss == pytest.approx(other, rel=1e-5)


def test_equal_views_of_different_images_are_found(make_method, make_batch):
    method, batch = make_method(Simclr, **SMALL).eval(), make_batch()
    method.losses(type(batch)((batch.views[0],) * 2, batch.images, batch.index, batch.generator, 0, 0.0))
    assert method.logged["top1"].item() == 1.0


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"dimension": 1}, {"queue": 5}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SimclrSettings(**wrong)
