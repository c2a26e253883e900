"""MoCo + MSE: its terms against NumPy, and MoCo where they weigh nothing."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from imssl.methods.moco import Moco
from imssl.methods.moco_mse import MocoMse, MocoMseSettings
from imssl.pretrain import Training
from imssl.settings.pretraining import Optimisation

SMALL = {"queue": 40, "dimension": 16, "hidden": 32}
OPTIMISATION = Optimisation(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.0)


def in_numpy(query, key, grid):
    """Error of maps averaged over equal cells; the side must be a multiple of the grid."""
    query, key = (maps.detach().double().numpy() for maps in (query, key))
    side = query.shape[-1]
    grid = min(grid, side)
    shape = (*query.shape[:2], grid, side // grid, grid, side // grid)
    query, key = (maps.reshape(shape).mean(axis=(3, 5)) for maps in (query, key))
    return ((query - key) ** 2).mean()


@pytest.mark.parametrize("grids", [(16, 16, 4, 4), (1, 1, 1, 1), (4, 2, 2, 1)])
def test_terms_equal_numpy(make_method, make_batch, grids):
    weights = (0.1, 0.2, 0.3, 0.4)
    method = make_method(MocoMse, **SMALL, block_weights=weights, block_grids=grids).eval()
    batch = make_batch(pixels=64)
    with torch.no_grad():  # the key encoder away from the query encoder
        for weight in method.key_encoder.parameters():
            weight.mul_(1.1)
    terms = method.losses(batch)
    query, key = method.encoder(batch.views[0]), method.key_encoder(batch.views[1])
    assert [block.shape[-1] for block in query.blocks] == [16, 8, 4, 2]
    assert list(terms) == ["contrastive", "mse_1", "mse_2", "mse_3", "mse_4"]
    for i, (weight, grid) in enumerate(zip(weights, grids, strict=True), start=1):
        expected = weight * in_numpy(query.block(i), key.block(i), grid)
        assert terms[f"mse_{i}"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_a_term_reaches_its_block_and_those_before(make_method, make_batch, block):
    method = make_method(MocoMse, **SMALL)
    method.train()
    method.losses(make_batch())[f"mse_{block}"].backward()
    encoder = method.encoder
    layers = (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
    reached = [layer[0].conv1.weight.grad is not None for layer in layers]
    assert reached == [i <= block for i in range(1, 5)]
    assert method.encoder.conv1.weight.grad.any()
    assert all(weight.grad is None for weight in method.head.parameters())


def test_equal_views_and_networks_have_no_error(make_method, make_batch):
    method, batch = make_method(MocoMse, **SMALL).eval(), make_batch()
    same = type(batch)((batch.views[0],) * 2, batch.images, batch.index, batch.generator, 0, 0.0)
    terms = method.losses(same)
    np.testing.assert_allclose([terms[f"mse_{i}"].item() for i in range(1, 5)], 0, atol=1e-8)


def test_without_weights_it_is_moco_bit_for_bit(make_method, make_batch):
    runs = []
    for method in (make_method(Moco, **SMALL), make_method(MocoMse, **SMALL, block_weights=(0, 0, 0, 0))):
        training = Training(method.train(), OPTIMISATION, steps=8)
        for step in range(4):
            training.take_step(make_batch(step=step), "float32")
        runs.append(method.state_dict())
    assert runs[0].keys() == runs[1].keys()
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize(
    "wrong",
    [{"block_weights": (0.25,) * 3}, {"block_weights": (-1, 0, 0, 0)}, {"block_grids": (0, 1, 1, 1)}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        MocoMseSettings(**wrong)
