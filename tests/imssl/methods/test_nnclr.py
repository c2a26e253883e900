"""NNCLR against NumPy, and its queue."""

import copy

import numpy as np
import pytest

from imssl.methods.nnclr import Nnclr
from imssl.pretrain import Training
from imssl.settings.pretraining import Optimisation

SMALL = {"hidden": 24, "dimension": 12, "queue": 40}
OPTIMISATION = Optimisation(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.0)


def unit(rows):
    rows = rows.detach().double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_that_of_the_paper(make_method, make_batch, temperature):
    method, batch = make_method(Nnclr, **SMALL, temperature=temperature).train(), make_batch()
    other = copy.deepcopy(method)
    terms = method.losses(batch)
    z = [other.projector(other.encoder(view).embedding) for view in batch.views]
    predictions = [unit(other.predictor(z[1])), unit(other.predictor(z[0]))]
    queue = unit(other.queue.keys)
    expected = []
    for projections, predicted in zip(z, predictions, strict=True):
        neighbours = queue[(unit(projections) @ queue.T).argmax(axis=1)]
        similar = np.exp(neighbours @ predicted.T / temperature)
        expected.append(-np.log(np.diag(similar) / similar.sum(axis=1)).mean())
    assert list(terms) == ["contrastive"]
    assert terms["contrastive"].item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_neighbours_get_no_gradient_and_everything_else_does(make_method, make_batch):
    method = make_method(Nnclr, **SMALL).train()
    method.losses(make_batch())["contrastive"].backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in method.parameters())
    assert not method.queue.keys.requires_grad


def test_the_queue_holds_the_first_views_projections_of_the_latest_steps(make_method, make_batch):
    method = make_method(Nnclr, **SMALL).train()
    training = Training(method, OPTIMISATION, steps=8)
    expected = []
    for step in range(3):
        batch = make_batch(step=step)
        still = copy.deepcopy(method)
        expected.append(unit(still.projector(still.encoder(batch.views[0]).embedding)))
        training.take_step(batch, "float32")
    keys = method.queue.keys.numpy()
    assert method.queue.indices.sort().values.tolist() == list(range(8, 48))
    np.testing.assert_allclose(keys[16:32], expected[1], atol=1e-5)
    np.testing.assert_allclose(np.concatenate([keys[32:], keys[:8]]), expected[2], atol=1e-5)
