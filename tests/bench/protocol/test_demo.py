"""The demo shows what it is for: on two phantoms, pretraining beats an untrained encoder with few labels."""

import numpy as np
import pytest
import torch

from bench.protocol.params_file import PROFILES
from bench.protocol.protocol import read_protocol
from bench.protocol.registry import load_method
from imssl.datasets.label_sets import label_subset
from imssl.datasets.phantom import source
from imssl.datasets.prepare import prepare
from imssl.datasets.prepared import read_prepared
from imssl.encoder import new_encoder
from imssl.features import pooled_features
from imssl.linear import fit, predict_probabilities
from imssl.metrics import scores
from imssl.pretrain import pretrain
from imssl.recipe import Recipe

DRAWS = 6  # of the labelled images: with so few of them, one draw says little


@pytest.mark.slow
@pytest.mark.parametrize("dataset_id", ["phantom-histology", "phantom-fundus"])
def test_pretraining_beats_both_references_with_few_labels(dataset_id, tmp_path):
    demo = read_protocol(PROFILES / "demo.yaml")
    dataset = demo.datasets[dataset_id]
    prepare(
        source(dataset.kind, dataset.patients, dataset.size, dataset.seed),
        name=dataset_id,
        size=dataset.size,
        channels=dataset.channels,
        split_seed=dataset.split_seed,
        on_bad_image="error",
        folder=tmp_path / "data",
        threads=1,
    )
    prepared = read_prepared(tmp_path / "data")
    train = prepared.indices("train")
    # Validation images too, as nothing is chosen on them here.
    others = np.concatenate([prepared.indices("val"), prepared.indices("test")])
    labels, task = prepared.labels(), prepared.card.task
    classes = prepared.card.classes
    device = torch.device("cpu")

    def auroc(name):
        row = load_method(name, demo, dataset_id)
        recipe = Recipe(
            prepared=prepared,
            settings=row.pretrain_on(dataset_id, demo),
            augmentation=demo.augmentation_of(dataset_id),
            hardware=demo.hardware,
            device=device,
            seed=demo.seeds[0],
        )
        pretrained = pretrain(
            new_encoder(demo.encoder, dataset.channels, recipe.seed),
            lambda encoder, training_set: row.method(encoder, row.settings, training_set),
            recipe,
            tmp_path / name,
            "run",
            lambda done, steps: None,
        )
        seen, unseen = (
            pooled_features(pretrained.encoder, prepared, rows, device)[-1] for rows in (train, others)
        )
        found = []
        for draw in range(DRAWS):
            rows = label_subset(labels[train], min(demo.label_fractions), draw)
            assert len(rows) >= 10
            (linear,) = fit(seen[rows], labels[train][rows], task, len(classes), [0.1], "balanced")
            found.append(
                scores(task, labels[others], predict_probabilities(linear, unseen), classes).macro_auroc
            )
        return np.mean(found)

    pretrained, *references = (
        auroc(method) for method in ("moco-barlow", "random-init", "random-init-filled")
    )
    assert pretrained > max(references) + 0.05, (pretrained, references)
