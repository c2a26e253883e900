"""MoCo + Barlow Twins: its terms against lightly and NumPy, and MoCo where they weigh nothing."""

import copy

import numpy as np
import pytest
import torch
from lightly.loss import BarlowTwinsLoss

from imssl.methods.moco import Moco
from imssl.methods.moco_barlow import MocoBarlow
from imssl.pretrain import Training
from imssl.settings.pretraining import Optimisation

SMALL = {"queue": 40, "dimension": 16, "hidden": 32}
OPTIMISATION = Optimisation(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.0)


def project(projector, x):
    """Linear, batch norm, ReLU, twice, then linear, in NumPy; batch norm over the batch."""
    weights = {name: weight.detach().double().numpy() for name, weight in projector.named_parameters()}
    for linear, norm in ((0, 1), (3, 4)):
        x = x @ weights[f"{linear}.weight"].T
        x = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
        x = np.maximum(x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"], 0)
    return x @ weights["6.weight"].T


def barlow(first, second, on_diagonal, off_diagonal):
    first, second = ((z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5) for z in (first, second))
    correlation = first.T @ second / len(first)
    diagonal = np.diag(correlation)
    redundancy = (correlation**2).sum() - (diagonal**2).sum()
    return on_diagonal * ((diagonal - 1) ** 2).sum() + off_diagonal * redundancy


def test_terms_equal_numpy(make_method, make_batch):
    settings = {"on_diagonal": 0.5, "off_diagonal": 0.02, "scale": 0.25, "batch_norm_splits": 1}
    method, batch = make_method(MocoBarlow, **SMALL, projection=12, **settings), make_batch(size=32)
    method.train()
    query_encoder, key_encoder = copy.deepcopy(method.encoder), copy.deepcopy(method.key_encoder)
    terms = method.losses(batch)
    with torch.no_grad():
        query, key = query_encoder(batch.views[0]), key_encoder(batch.views[1])
    assert list(terms) == ["contrastive", "barlow_1", "barlow_2", "barlow_3", "barlow_4"]
    for i, projector in enumerate(method.projectors, start=1):
        first, second = (project(projector, f.pooled(i).double().numpy()) for f in (query, key))
        expected = 0.25 * barlow(first, second, 0.5, 0.02)
        assert terms[f"barlow_{i}"].item() == pytest.approx(expected, rel=1e-4)


def test_terms_equal_lightly(make_method, make_batch):
    method = make_method(MocoBarlow, **SMALL, projection=12, scale=1.0, batch_norm_splits=1)
    method.eval()
    for projector in method.projectors:  # batch norm of the projections over the batch, as in training
        projector.train()
    batch = make_batch(size=32)
    terms = method.losses(batch)
    query, key = method.encoder(batch.views[0]), method.key_encoder(batch.views[1])
    theirs = BarlowTwinsLoss(lambda_param=5.1e-3)
    for i, projector in enumerate(method.projectors, start=1):
        expected = theirs(projector(query.pooled(i)), projector(key.pooled(i)))
        torch.testing.assert_close(terms[f"barlow_{i}"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_a_term_reaches_its_block_its_projector_and_the_blocks_before(make_method, make_batch, block):
    method = make_method(MocoBarlow, **SMALL, projection=12)
    method.train()
    method.losses(make_batch())[f"barlow_{block}"].backward()
    encoder = method.encoder
    layers = (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
    reached = [layer[0].conv1.weight.grad is not None for layer in layers]
    assert reached == [i <= block for i in range(1, 5)]
    projected = [projector[0].weight.grad is not None for projector in method.projectors]
    assert projected == [i == block for i in range(1, 5)]
    assert all(weight.grad is None for weight in method.key_encoder.parameters())


@pytest.mark.parametrize("zero", [{"scale": 0.0}, {"on_diagonal": 0.0, "off_diagonal": 0.0}])
def test_without_weights_it_is_moco_bit_for_bit(make_method, make_batch, zero):
    runs = []
    for method in (make_method(Moco, **SMALL), make_method(MocoBarlow, **SMALL, projection=12, **zero)):
        training = Training(method.train(), OPTIMISATION, steps=8)
        for step in range(4):
            training.take_step(make_batch(step=step), "float32")
        runs.append(method.state_dict())
    assert runs[0].keys() < runs[1].keys()
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_the_projectors_belong_to_the_method_not_to_the_encoder(make_method):
    method = make_method(MocoBarlow, **SMALL, projection=12)
    plain = make_method(Moco, **SMALL)
    assert method.encoder.state_dict().keys() == plain.encoder.state_dict().keys()
    assert [projector[0].in_features for projector in method.projectors] == [8, 16, 32, 64]
    extra = set(method.state_dict()) - set(plain.state_dict())
    assert all(name.startswith("projectors.") for name in extra)
