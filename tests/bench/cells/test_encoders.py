"""The features of a finished encoder are extracted once, and are the ones that every cell would extract."""

from pathlib import Path

import numpy as np
import pytest

from bench.cells.encoders import encoder_features, load_encoder
from bench.cells.files import FEATURES, cell_path
from bench.cells.job import Job
from bench.cells.keys import Keys
from bench.launch.run_cells import run_cells
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from imssl.device import on_device
from imssl.features import pooled_features
from imssl.settings.labels import LabelSet

PRETRAINED = Cell("pretrain", "chest", "random-init", 0)


@pytest.fixture
def job(prepared_project):
    """A cell whose encoder is finished."""
    protocol = read_protocol()
    run_cells("pretrain", "chest", ["random-init"], protocol)

    def of_stage(stage, labels=None):
        cell = Cell(stage, "chest", "random-init", 0, labels)
        return Job(cell, Keys(protocol), Path("unused"), lambda done, total: None)

    return of_stage


def fresh_features(job):
    encoder = load_encoder(cell_path(PRETRAINED), job.protocol, job.prepared)
    on_device(encoder, job.device)
    return pooled_features(encoder, job.prepared, np.arange(len(job.prepared.samples)), job.device)


def test_every_evaluation_reads_what_the_first_has_extracted(job):
    passes = []

    def counted(*arguments):
        passes.append(arguments)
        return pooled_features(*arguments)

    counted.__module__ = pooled_features.__module__
    expected = fresh_features(job("probe"))
    for stage, labels in (
        ("frozen", LabelSet(0.5)),
        ("frozen", LabelSet(per_class=2)),
        ("knn", LabelSet(1.0)),
    ):
        (last,) = encoder_features(job(stage, labels), counted, blocks=[4])
        np.testing.assert_array_equal(last, expected[-1])
        assert last.dtype == np.float32
    for block, features in enumerate(encoder_features(job("probe"), counted, blocks=[1, 2, 3, 4])):
        np.testing.assert_array_equal(features, expected[block])
    assert len(passes) == 1


@pytest.mark.parametrize("damage", ["torn", "deleted", "another block"])
def test_features_that_cannot_be_read_are_extracted_again(job, damage):
    first = encoder_features(job("probe"), pooled_features, blocks=[1, 4])
    (file,) = FEATURES.iterdir()
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "deleted":
        file.unlink()
    else:
        np.savez(file, block_1=first[0])
    again = encoder_features(job("probe"), pooled_features, blocks=[1, 4])
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    with np.load(file) as stored:
        assert sorted(stored) == ["block_1", "block_2", "block_3", "block_4"]


def test_a_store_that_cannot_be_written_costs_time_alone(job):
    FEATURES.write_text("a file in the place of the folder")
    (last,) = encoder_features(job("knn", LabelSet(1.0)), pooled_features, blocks=[4])
    np.testing.assert_array_equal(last, fresh_features(job("probe"))[-1])


def test_another_encoder_has_features_of_its_own(job, edited):
    encoder_features(job("probe"), pooled_features, blocks=[4])
    protocol = edited("seeds: [0]", "seeds: [1]")
    run_cells("pretrain", "chest", ["random-init"], protocol)
    cell = Cell("probe", "chest", "random-init", 1)
    other = Job(cell, Keys(protocol), Path("unused"), lambda done, total: None)
    encoder_features(other, pooled_features, blocks=[4])
    assert len(list(FEATURES.iterdir())) == 2
