"""MedAug against MoCo, of which it is a special case, and against NumPy on two images of each patient."""

import numpy as np
import torch

from imssl.features import fingerprint
from imssl.methods.medaug import Medaug
from imssl.methods.moco import Moco

SMALL = {"hidden": 32, "dimension": 16, "queue": 32, "batch_norm_splits": 2}


def test_where_no_patient_has_two_images_it_is_moco_bit_for_bit(recipe, pretrain_tiny, monkeypatch):
    monkeypatch.setattr("imssl.recipe.anonymous_codes", lambda names, seed: torch.arange(len(names)))
    medaug, _ = pretrain_tiny(recipe(), Medaug, SMALL, name="medaug")
    moco, _ = pretrain_tiny(recipe(), Moco, SMALL, name="moco")
    assert fingerprint(medaug.encoder) == fingerprint(moco.encoder)


def test_query_and_key_are_of_one_patient_and_mostly_of_two_images(recipe, pretrain_tiny):
    batches = []

    class Watched(Medaug):
        def losses(self, batch):
            batches.append(batch)
            return super().losses(batch)

    _, training = pretrain_tiny(recipe(), Watched, SMALL)
    groups = training.method.training_set.groups
    has_others = groups.bincount()[groups] > 1
    for batch in batches:
        assert torch.equal(groups[batch.index], groups[batch.partners])
        assert torch.equal(batch.index != batch.partners, has_others[batch.index])
        assert len(batch.views) == 2
    # The queue knows its keys by patient, the latest step's last.
    places = (training.method.queue.pointer - 24 + torch.arange(24)) % 32
    assert torch.equal(training.method.queue.indices[places], batches[-1].group)


def test_keys_of_the_querys_patient_count_only_where_they_are_not_masked(make_method, make_batch):
    losses = {}
    for masked in (False, True):
        method = make_method(Medaug, **SMALL, mask_own_keys=masked).train()
        method.queue.indices[:] = torch.arange(32) % 8
        batch = make_batch()
        batch = type(batch)(
            batch.views, batch.images, batch.index, batch.generator, 0, 0.0, group=torch.arange(16) % 8
        )
        losses[masked] = method.losses(batch)["contrastive"].item()
        queries = method.head(method.encoder(batch.views[0]).embedding).detach().double().numpy()
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        keys, queue = method.latest_keys.double().numpy(), method.queue.keys.double().numpy()
        positive = np.exp((queries * keys).sum(axis=1) / 0.2)
        negative = np.exp(queries @ queue.T / 0.2)
        if masked:
            negative[(np.arange(16) % 8)[:, None] == np.arange(32) % 8] = 0
        expected = -np.log(positive / (positive + negative.sum(axis=1))).mean()
        np.testing.assert_allclose(losses[masked], expected, rtol=1e-4)
    assert losses[True] < losses[False]
