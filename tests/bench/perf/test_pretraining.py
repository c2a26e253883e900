"""What is timed is what the suite does; the figures themselves are not tested."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.perf import timed_run
from bench.perf.groups import pretraining
from bench.perf.groups.pretraining import measure
from bench.perf.timed_run import METHODS, TimedRun, Workload, recipe_for
from bench.perf.timing import Effort
from imssl.features import fingerprint
from imssl.settings.encoder import EncoderSettings
from imssl.settings.hardware import Hardware

CPU = Hardware(device="cpu", threads=1, precision="float32")
ONCE = Effort(rounds=1, seconds=0.01, longest_step=60.0, workloads=1)


@pytest.fixture
def timed(histology):
    def make(method: str) -> TimedRun:
        recipe = recipe_for(Workload("resnet18", 16, 8), histology, CPU, torch.device("cpu"))
        return TimedRun(*METHODS[method], EncoderSettings(name="resnet18", stem="imagenet", width=8), recipe)

    return make


@pytest.mark.parametrize("method", ["moco", "moco-mse"])
def test_both_sides_take_real_steps(timed, method):
    run = timed(method)
    before = fingerprint(run.training.method)
    run.end_to_end(2)
    between = fingerprint(run.training.method)
    run.compute_only(1)
    assert len({before, between, fingerprint(run.training.method)}) == 3
    assert run.training.step == 3


def test_the_compute_limit_does_no_data_work(timed, monkeypatch):
    run = timed("moco")
    monkeypatch.setattr(timed_run, "batch_of", lambda *_: pytest.fail("made a batch"))
    run.compute_only(1)
    with pytest.raises(pytest.fail.Exception):
        run.end_to_end(1)


def test_end_to_end_makes_new_views_in_every_step(timed, monkeypatch):
    run, seen = timed("moco"), []
    original = run.training.take_step
    monkeypatch.setattr(
        run.training, "take_step", lambda batch, precision: (seen.append(batch), original(batch, precision))
    )
    run.end_to_end(3)
    assert len(seen) == 3
    assert all(view.shape == (8, 3, 16, 16) for batch in seen for view in batch.views)
    assert not np.allclose(seen[0].views[0], seen[1].views[0])


def test_rows_of_a_workload_and_a_note_where_it_is_too_slow(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "workloads_for", lambda _: [Workload("resnet18", 16, 4)])
    monkeypatch.setattr(pretraining, "METHODS", {"moco": METHODS["moco"]})
    monkeypatch.setattr(pretraining, "QUEUE", 64)
    rows = list(measure(ONCE, CPU, torch.device("cpu"), tmp_path, "lightly"))
    assert [(row.name.split(",")[0], row.against) for row in rows] == [
        ("moco", "compute limit"),
        ("moco", "lightly MoCo v2"),
    ]
    assert all(row.value.median > 0 and row.ratio.median > 0 for row in rows)
    (row,) = measure(replace(ONCE, longest_step=1e-6), CPU, torch.device("cpu"), tmp_path, None)
    assert row.value is None
    assert row.note.startswith("left out: a step takes more than")


def test_lightlys_model_is_ours_in_size_and_precision(histology):
    from bench.perf.groups.lightly_moco import LightlyRun

    workload = Workload("resnet18", 16, 4)
    run = LightlyRun(workload, histology, CPU, torch.device("cpu"), steps=2, queue=32)
    ours = TimedRun(
        *METHODS["moco"],
        EncoderSettings(name="resnet18", stem="imagenet"),
        recipe_for(workload, histology, CPU, torch.device("cpu")),
    )
    theirs = sum(weight.numel() for weight in run.backbone.parameters())
    assert theirs == sum(weight.numel() for weight in ours.training.method.encoder.parameters())
    heads = [sum(w.numel() for w in head.parameters()) for head in (run.head, ours.training.method.head)]
    assert heads[0] == heads[1]
    before = fingerprint(run.backbone)
    run.epoch()
    assert fingerprint(run.backbone) != before
    (views,) = {tuple(view.shape for view in batch) for batch in run.loader}
    assert views == (torch.Size([4, 3, 16, 16]),) * 2
