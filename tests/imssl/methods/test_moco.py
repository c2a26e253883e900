"""MoCo against NumPy, its own parts one by one, and what it must leave alone."""

import copy
import re

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from imssl.batch_norm import set_batch_norm_splits
from imssl.errors import UserError
from imssl.methods.moco import Moco, MocoSettings
from imssl.methods.moco_barlow import MocoBarlow
from imssl.methods.moco_mse import MocoMse
from imssl.pretrain import Training
from imssl.queue import KeyQueue
from imssl.settings.pretraining import Optimisation

METHODS = [Moco, MocoMse, MocoBarlow]
SMALL = {"queue": 40, "dimension": 16, "hidden": 32}
OPTIMISATION = Optimisation(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.0)


def small(make_method, method=Moco, **settings):
    extra = {"projection": 24} if method is MocoBarlow else {}
    return make_method(method, **{**SMALL, **extra, **settings})


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(module, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def normalised(array):
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def head_in_numpy(head, x):
    """Linear, or linear - ReLU - linear."""
    weights = [weight.detach().double().numpy() for weight in head.parameters()]
    x = x @ weights[0].T + weights[1]
    return x if len(weights) == 2 else np.maximum(x, 0) @ weights[2].T + weights[3]


@pytest.mark.parametrize("method", METHODS)
def test_the_key_network_starts_as_a_copy(make_method, method):
    moco = small(make_method, method)
    assert unchanged(moco.key_encoder, moco.encoder.state_dict())
    assert unchanged(moco.key_head, moco.head.state_dict())
    frozen = [*moco.key_encoder.parameters(), *moco.key_head.parameters()]
    assert not any(weight.requires_grad for weight in frozen)
    weights = {id(w) for group in moco.optimizer(OPTIMISATION).param_groups for w in group["params"]}
    assert not weights & {id(weight) for weight in frozen}
    assert {id(weight) for weight in moco.encoder.parameters()} < weights


@pytest.mark.parametrize("head", ["mlp", "linear"])
@pytest.mark.parametrize("splits", [1, 4])
def test_the_loss_equals_numpy(make_method, make_batch, head, splits):
    moco, batch = small(make_method, head=head, batch_norm_splits=splits), make_batch()
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():  # so that a mix-up of query and key weights would show
        for weight in [*moco.key_encoder.parameters(), *moco.key_head.parameters()]:
            weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    moco.train()
    query_encoder, key_encoder = copy.deepcopy(moco.encoder), copy.deepcopy(moco.key_encoder)
    terms = moco.losses(batch)

    shuffle = torch.arange(16)
    if splits > 1:
        shuffle = torch.randperm(16, generator=make_batch().generator)
    with torch.no_grad():
        query = query_encoder(batch.views[0]).embedding.double().numpy()
        key = key_encoder(batch.views[1][shuffle]).embedding.double().numpy()[np.argsort(shuffle.numpy())]
    q = normalised(head_in_numpy(moco.head, query))
    k = normalised(head_in_numpy(moco.key_head, key))
    queue = moco.queue.keys.double().numpy()
    logits = np.concatenate([(q * k).sum(axis=1, keepdims=True), q @ queue.T], axis=1) / 0.2
    expected = (np.log(np.exp(logits).sum(axis=1)) - logits[:, 0]).mean()
    assert list(terms) == ["contrastive"]
    assert terms["contrastive"].item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(moco.latest_keys.numpy(), k, atol=1e-5)
    assert moco.logged["top1"].item() == (logits.argmax(axis=1) == 0).mean()


def test_keys_of_a_shuffled_batch_come_back_in_order(make_method, make_batch):
    moco, batch = small(make_method), make_batch()
    moco.eval()
    features, expected = moco.key_features(batch), moco.key_encoder(batch.views[1])
    for block, other in zip(features.blocks, expected.blocks, strict=True):
        torch.testing.assert_close(block, other, rtol=1e-5, atol=1e-5)


def test_keys_are_normalised_with_other_images_than_queries(make_method, make_batch):
    """Parts of the batch that share statistics: in order for queries, in random order for keys."""
    moco, batch = small(make_method), make_batch()
    plain = copy.deepcopy(moco.key_encoder)
    set_batch_norm_splits(plain, 1)
    moco.train()
    shuffle = torch.randperm(16, generator=make_batch().generator)
    assert shuffle.tolist() != list(range(16))
    embedding = moco.key_features(batch).embedding
    with torch.no_grad():
        for part in shuffle.split(4):
            # The first layer sees exactly these four images; the whole network on them alone must agree.
            expected = plain(batch.views[1][part]).embedding
            torch.testing.assert_close(embedding[part], expected, rtol=1e-4, atol=1e-4)


def test_without_splits_nothing_is_drawn(make_method, make_batch):
    moco, batch = small(make_method, batch_norm_splits=1), make_batch()
    state = batch.generator.get_state()
    moco.losses(batch)
    assert torch.equal(batch.generator.get_state(), state)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_every_query_weight_and_no_key_weight(make_method, make_batch, method):
    moco, batch = small(make_method, method), make_batch()
    moco.train()
    sum(moco.losses(batch).values()).backward()
    for name, weight in moco.named_parameters():
        if name.startswith("key_"):
            assert weight.grad is None, name
        else:
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
            assert weight.grad.any(), name
    assert not moco.latest_keys.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_after_step_moves_the_key_network_and_enqueues_the_keys(make_method, make_batch, method):
    moco = small(make_method, method, momentum=0.9)
    training = Training(moco, OPTIMISATION, steps=8)
    moco.train()
    before = snapshot(moco)
    training.take_step(make_batch(), "float32")
    assert torch.equal(moco.queue.keys[:16], moco.latest_keys)
    assert torch.equal(moco.queue.keys[16:], before["queue.keys"][16:])
    assert int(moco.queue.pointer) == 16
    torch.testing.assert_close(moco.latest_keys.norm(dim=1), torch.ones(16))
    for part in ("encoder", "head"):
        for name, leader in getattr(moco, part).named_parameters():
            assert not torch.equal(leader, before[f"{part}.{name}"]), name
            old = before[f"key_{part}.{name}"].double()
            moved = getattr(moco, f"key_{part}").get_parameter(name).double()
            torch.testing.assert_close(moved, 0.9 * old + 0.1 * leader.double(), rtol=1e-5, atol=1e-6)
    # The key encoder's running statistics are of its own images, not an average of the other's.
    own = moco.key_encoder.bn1.running_mean
    assert not torch.equal(own, before["key_encoder.bn1.running_mean"])
    assert not torch.equal(own, moco.encoder.bn1.running_mean)


def test_keys_that_do_not_fit_the_queue_wrap_round(make_method, make_batch):
    moco = small(make_method)
    training = Training(moco, OPTIMISATION, steps=8)
    moco.train()
    keys = []
    for step in range(3):
        training.take_step(make_batch(step=step), "float32")
        keys.append(moco.latest_keys)
    stream = torch.cat(keys)
    assert int(moco.queue.pointer) == 48 % 40
    assert torch.equal(torch.cat([moco.queue.keys[8:], moco.queue.keys[:8]]), stream[-40:])


@pytest.mark.parametrize("method", METHODS)
def test_a_forward_pass_in_eval_mode_moves_nothing(make_method, make_batch, method):
    moco = small(make_method, method)
    moco.eval()
    before = snapshot(moco)
    first = moco.losses(make_batch())
    second = moco.losses(make_batch())
    assert unchanged(moco, before)
    assert {name: term.item() for name, term in first.items()} == {n: t.item() for n, t in second.items()}


def test_a_forward_pass_in_train_mode_moves_neither_queue_nor_weights(make_method, make_batch):
    moco = small(make_method)
    moco.train()
    before = snapshot(moco)
    moco.losses(make_batch())
    changed = {name for name, tensor in moco.state_dict().items() if not torch.equal(tensor, before[name])}
    assert all(re.search(r"running_|num_batches", name) for name in changed)
    assert "encoder.bn1.running_mean" in changed
    assert "key_encoder.bn1.running_mean" in changed


def test_a_queue_longer_than_the_data_is_refused(make_method):
    with pytest.raises(UserError, match=r"(?s)queue = 101 .*only 100 training images.*100 or less"):
        make_method(Moco, training_images=100, queue=101)
    assert len(make_method(Moco, training_images=100, queue=100).queue.keys) == 100
    assert len(make_method(Moco, training_images=100, queue=150, queue_limit=1.5).queue.keys) == 150


@pytest.mark.parametrize(
    "wrong", [{"queu": 5}, {"queue": 0}, {"temperature": 0.0}, {"momentum": 1.1}, {"head": "deep"}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        MocoSettings(**wrong)


def test_contrast_is_learnt(make_method, make_batch):
    """On one repeated batch, with queue and key network left as they are, the loss falls."""
    moco = small(make_method)
    moco.train()
    optimizer = moco.optimizer(OPTIMISATION)
    losses = []
    for _ in range(15):
        loss = moco.losses(make_batch())["contrastive"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert moco.logged["top1"].item() == 1.0


def test_own_keys_are_negatives_unless_they_are_masked(make_method, make_batch):
    """Against the sum over the other images' keys, written out; the positive always counts."""
    plain, masking = (small(make_method, mask_own_keys=mask, batch_norm_splits=1) for mask in (False, True))
    batch = make_batch()
    for moco in (plain, masking):
        moco.train()
        moco.queue.enqueue(torch.nn.functional.normalize(moco.queue.keys[:30].flip(0)), torch.arange(5, 35))
    features = copy.deepcopy(plain.encoder)(batch.views[0]).embedding.detach().double().numpy()
    q = normalised(head_in_numpy(plain.head, features))
    losses = [moco.losses(batch)["contrastive"].item() for moco in (plain, masking)]
    k, queue = plain.latest_keys.double().numpy(), plain.queue.keys.double().numpy()
    for loss, mask in zip(losses, (False, True), strict=True):
        terms = []
        for i in range(16):
            others = [j for j in range(40) if not (mask and int(plain.queue.indices[j]) == i)]
            assert len(others) == 40 - (mask and 5 <= i < 35)
            logits = np.array([q[i] @ k[i], *(q[i] @ queue[j] for j in others)]) / 0.2
            terms.append(np.log(np.exp(logits).sum()) - logits[0])
        assert loss == pytest.approx(np.mean(terms), rel=1e-5)
    assert losses[1] < losses[0]


def test_masked_keys_leave_a_finite_gradient(make_method, make_batch):
    """Even where every key of the queue is one of the query's own image."""
    moco, batch = small(make_method, mask_own_keys=True), make_batch()
    moco.train()
    moco.queue.indices.fill_(3)
    losses = moco.losses(batch)
    assert losses["contrastive"].isfinite()
    losses["contrastive"].backward()
    assert all(w.grad.isfinite().all() for w in moco.parameters() if w.grad is not None)


@pytest.mark.parametrize(("share", "expected"), [(0.25, 0.03125), (0.5, 0.125), (1.0, 0.5)])
def test_how_many_queries_meet_an_earlier_key_of_their_image(share, expected):
    """What the docstring says, on the queue itself: an order of its own for each epoch."""
    images, batch = 1600, 16
    queue, draw = KeyQueue(int(share * images), 2), torch.Generator().manual_seed(0)
    met = []
    for epoch in range(6):
        for index in torch.randperm(images, generator=draw).split(batch):
            if epoch:
                met.append(torch.isin(index, queue.indices))
            queue.enqueue(torch.zeros(batch, 2), index)
    assert torch.cat(met).float().mean().item() == pytest.approx(expected, abs=0.02)
