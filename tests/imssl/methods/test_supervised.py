"""Supervised training in the loop of pretraining: the loss against torch's own, and what it learns."""

import torch
import torch.nn.functional as F

from imssl.methods.supervised import Supervised


def made(make_method, labels, task, classes, **settings):
    method = make_method(Supervised, **settings)
    method.take_labels(labels, task, classes)
    return method.eval()


def test_the_loss_is_cross_entropy_over_the_views(make_method, make_batch):
    labels = torch.arange(1000) % 3
    method = made(make_method, labels, "multiclass", 3, class_weights="none")
    batch = make_batch(step=2)
    logits = [method.classifier(method.encoder(view).embedding) for view in batch.views]
    expected = sum(F.cross_entropy(view, labels[batch.index]) for view in logits) / 2
    torch.testing.assert_close(method.losses(batch)["classification"], expected)


def test_several_labels_an_image_are_binary_cross_entropies_with_weighted_positives(make_method, make_batch):
    labels = (torch.rand(1000, 4, generator=torch.Generator().manual_seed(0)) < 0.2).to(torch.uint8)
    method = made(make_method, labels, "multilabel", 4, views=1)
    batch = make_batch(view_count=1)
    positives = labels.float().mean(dim=0)
    expected = F.binary_cross_entropy_with_logits(
        method.classifier(method.encoder(batch.views[0]).embedding),
        labels[batch.index].float(),
        pos_weight=(1 - positives) / positives,
    )
    torch.testing.assert_close(method.losses(batch)["classification"], expected)


def test_it_is_a_reference_from_scratch_whose_labels_are_in_no_checkpoint(make_method):
    method = made(make_method, torch.zeros(1000, dtype=torch.int64), "binary", 2)
    assert method.is_reference
    assert method.from_scratch
    assert "labels" not in method.state_dict()
