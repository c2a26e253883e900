"""Loss terms against NumPy and lightly."""

import lightly.loss
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from imssl.encoder import Features
from imssl.losses import (
    barlow_twins,
    block_mse,
    contrastive_logits,
    cross_correlation,
    info_nce,
    negative_cosine,
    nt_xent_logits,
    off_diagonal_covariance,
    top1,
    variance_hinge,
)


def keys(count, seed, width=8):
    draw = np.random.default_rng(seed).normal(size=(count, width))
    return torch.from_numpy(draw / np.linalg.norm(draw, axis=1, keepdims=True)).float()


def projections(seed, batch=12, width=7):
    draw = np.random.default_rng(seed).normal(size=(2, batch, width))
    first = 3 + 2 * draw[0]
    return torch.from_numpy(first).float(), torch.from_numpy(0.5 * first + draw[1]).float()


def maps(seed, sides=(6, 5, 3, 1)):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(4, 2 * i, side, side) for i, side in enumerate(sides, start=1)]
    return Features(tuple(torch.randn(shape, generator=draw) for shape in shapes))


def adaptive_average(images, grid):
    """Mean over cells [floor(i H / grid), ceil((i + 1) H / grid)), written out."""
    side = images.shape[-1]
    edges = [(i * side // grid, -(-(i + 1) * side // grid)) for i in range(grid)]
    return np.array(
        [[images[:, :, a:b, c:d].mean(axis=(2, 3)) for c, d in edges] for a, b in edges]
    ).transpose(2, 3, 0, 1)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_info_nce_equals_the_formula(temperature):
    query, positive, queue = keys(6, 0), keys(6, 1), keys(20, 2)
    q, k, n = (tensor.double().numpy() for tensor in (query, positive, queue))
    logits = np.concatenate([(q * k).sum(axis=1, keepdims=True), q @ n.T], axis=1) / temperature
    expected = -(logits[:, 0] - np.log(np.exp(logits).sum(axis=1))).mean()
    ours = contrastive_logits(query, positive, queue, temperature)
    assert ours.shape == (6, 21)
    np.testing.assert_allclose(ours.numpy(), logits, rtol=1e-5, atol=1e-5)
    assert info_nce(ours).item() == pytest.approx(expected, rel=1e-5)


def test_info_nce_and_its_gradient_equal_lightly():
    query, positive, queue = keys(6, 0), keys(6, 1), keys(20, 2)
    theirs = lightly.loss.NTXentLoss(temperature=0.2, memory_bank_size=(20, 8))
    theirs.memory_bank.bank = queue.clone()
    gradients, losses = [], []
    for loss_of in (
        lambda raw: info_nce(contrastive_logits(F.normalize(raw, dim=1), positive, queue, 0.2)),
        lambda raw: theirs(raw, positive),
    ):
        raw = (3 * query).requires_grad_()
        losses.append(loss_of(raw))
        losses[-1].backward()
        gradients.append(raw.grad)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)


def test_info_nce_of_nothing_learnt_is_the_log_of_the_choices():
    assert info_nce(torch.zeros(3, 65)).item() == pytest.approx(np.log(65), rel=1e-6)


def test_top1_counts_queries_whose_key_is_nearest():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 1.0, 0.0], [3.0, -1.0, 2.0]])
    assert top1(logits).item() == 0.5  # a tie is not a hit


def gradients_of(loss_of, *inputs):
    """A loss and its gradients with respect to copies of the inputs."""
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    loss = loss_of(*inputs)
    return loss, torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_nt_xent_equals_the_formula(temperature):
    views = keys(10, 3)
    z = views.double().numpy()
    similar = np.exp(z @ z.T / temperature)
    terms = []
    for i in range(10):  # eq. 1, one view at a time
        others = sum(similar[i, k] for k in range(10) if k != i)
        terms.append(-np.log(similar[i, (i + 5) % 10] / others))
    logits = nt_xent_logits(views, temperature)
    assert logits.shape == (10, 9)
    assert info_nce(logits).item() == pytest.approx(np.mean(terms), rel=1e-5)
    nearest = np.argmax(similar * (1 - np.eye(10)), axis=1) == (np.arange(10) + 5) % 10
    assert top1(logits).item() == pytest.approx(nearest.mean())


@pytest.mark.parametrize("count", [2, 5, 16])
def test_nt_xent_and_its_gradient_equal_lightly(count):
    first, second = 3 * keys(count, 0), 2 * keys(count, 1)
    theirs = lightly.loss.NTXentLoss(temperature=0.2)
    ours = gradients_of(
        lambda a, b: info_nce(nt_xent_logits(F.normalize(torch.cat([a, b]), dim=1), 0.2)), first, second
    )
    torch.testing.assert_close(ours, gradients_of(theirs, first, second), rtol=1e-5, atol=1e-6)


def test_negative_cosine_and_its_gradient_equal_lightly_and_numpy():
    first, second = projections(4)
    ours = gradients_of(negative_cosine, first, second)
    theirs = gradients_of(lightly.loss.NegativeCosineSimilarity(), first, second)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    p, z = (tensor.double().numpy() for tensor in (first, second))
    cosines = (p * z).sum(axis=1) / np.linalg.norm(p, axis=1) / np.linalg.norm(z, axis=1)
    assert ours[0].item() == pytest.approx(-cosines.mean(), rel=1e-5)


def test_variance_and_covariance_equal_numpy():
    first, _ = projections(5)
    first[:, :3] *= 0.1  # three features below the hinge, the others above it
    covariance = np.cov(first.double().numpy().T)
    deviation = np.sqrt(np.diag(covariance) + 1e-4)
    assert (deviation < 1).sum() == 3
    assert variance_hinge(first).item() == pytest.approx(np.maximum(1 - deviation, 0).mean(), rel=1e-5)
    off = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
    assert off_diagonal_covariance(first).item() == pytest.approx(off / 7, rel=1e-4)


@pytest.mark.parametrize("count", [2, 5, 32])
def test_the_terms_of_vicreg_and_their_gradients_equal_lightly(count):
    first, second = projections(6, batch=count)
    first, second = 0.5 * first, 0.2 * second
    ours = gradients_of(
        lambda a, b: (
            25 * F.mse_loss(a, b)
            + 25 * (variance_hinge(a) + variance_hinge(b)) / 2
            + off_diagonal_covariance(a)
            + off_diagonal_covariance(b)
        ),
        first,
        second,
    )
    theirs = gradients_of(lightly.loss.VICRegLoss(), first, second)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_constant_feature_has_a_finite_gradient():
    """At a deviation of 0 the root's slope would be infinite; the hinge must push from there."""
    first, _ = projections(5)
    first[:, 0] = 2.0
    loss, (gradient,) = gradients_of(variance_hinge, first)
    assert loss.item() > 0.9 / 7
    assert gradient.isfinite().all()


@pytest.mark.parametrize("grids", [(1, 1, 1, 1), (4, 4, 2, 1), (16, 16, 4, 4), (6, 3, 2, 1)])
def test_block_mse_equals_numpy(grids):
    query, key = maps(0), maps(1)
    for ours, one, other, grid in zip(
        block_mse(query, key, grids), query.blocks, key.blocks, grids, strict=True
    ):
        side = min(grid, one.shape[-1])
        one, other = (adaptive_average(tensor.double().numpy(), side) for tensor in (one, other))
        assert ours.item() == pytest.approx(((one - other) ** 2).mean(), rel=1e-5)


def test_block_mse_on_a_grid_of_one_compares_pooled_features():
    query, key = maps(0), maps(1)
    for number, term in enumerate(block_mse(query, key, (1, 1, 1, 1)), start=1):
        torch.testing.assert_close(term, F.mse_loss(query.pooled(number), key.pooled(number)))


def test_cross_correlation_equals_numpy():
    first, second = projections(0)
    expected = np.corrcoef(first.double().numpy().T, second.double().numpy().T)[:7, 7:]
    np.testing.assert_allclose(cross_correlation(first, second).numpy(), expected, atol=1e-5)


def test_cross_correlation_of_a_constant_feature_is_zero():
    first, second = projections(0)
    first[:, 2] = 5.0
    correlation = cross_correlation(first, second)
    assert correlation.isfinite().all()
    assert correlation[2].abs().max() < 1e-5


@pytest.mark.parametrize("off_diagonal", [5.1e-3, 0.0, 1.0])
def test_barlow_twins_and_its_gradient_equal_lightly(off_diagonal):
    first, second = projections(1)
    theirs = lightly.loss.BarlowTwinsLoss(lambda_param=off_diagonal)
    gradients, losses = [], []
    for loss_of in (lambda a, b: barlow_twins(a, b, 1.0, off_diagonal), theirs):
        a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
        losses.append(loss_of(a, b))
        losses[-1].backward()
        gradients.append(torch.stack([a.grad, b.grad]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_barlow_twins_weighs_both_terms():
    first, second = projections(2)
    correlation = np.corrcoef(first.double().numpy().T, second.double().numpy().T)[:7, 7:]
    on = ((np.diag(correlation) - 1) ** 2).sum()
    off = (correlation**2).sum() - (np.diag(correlation) ** 2).sum()
    assert barlow_twins(first, second, 0.3, 0.7).item() == pytest.approx(0.3 * on + 0.7 * off, rel=1e-4)
    assert barlow_twins(first, second, 0.0, 0.0).item() == 0.0


def test_autocast_does_not_round_the_losses():
    """Encoders may run in bfloat16; a similarity of three digits over a temperature of 0.07 may not."""
    query, positive, queue = keys(6, 0), keys(6, 1), keys(20, 2)
    first, second = projections(1)

    def values():
        return (
            contrastive_logits(query, positive, queue, 0.07),
            cross_correlation(first, second),
            nt_xent_logits(query, 0.07),
            negative_cosine(first, second),
            variance_hinge(first),
            off_diagonal_covariance(first),
        )

    outside = values()
    with torch.autocast("cpu", torch.bfloat16):
        inside = values()
    torch.testing.assert_close(inside, outside, rtol=1e-5, atol=1e-5)
