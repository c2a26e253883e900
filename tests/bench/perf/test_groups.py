"""The other groups on sets of a few images: they run, and compare like with like."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bench.cli import app
from bench.perf import suite
from bench.perf.groups import analyses, augmentation, finetuning, gpu_sharing, memory, probes
from bench.perf.timed_run import Workload
from bench.perf.timing import Effort
from imssl.errors import UserError
from imssl.settings.hardware import Hardware

CPU = Hardware(device="cpu", threads=1, precision="float32")
ONCE = Effort(rounds=1, seconds=1.0, longest_step=60.0, workloads=1)


def test_pipelines_of_augmentation_are_alike_in_mean_and_spread(chest, histology, tmp_path):
    rows = list(augmentation.measure(ONCE, tmp_path))
    assert rows[0].against == "torchvision, PIL"
    assert rows[0].ratio.median > 0
    assert rows[0].at_least == 5
    assert (rows[1].value is None) == (importlib.util.find_spec("kornia") is None)
    assert torch.get_num_threads() == 1
    from PIL import Image

    from imssl.augment import augment
    from imssl.features import model_input

    images = np.repeat(histology.images[:1], 600, axis=0)
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    generator = torch.Generator().manual_seed(0)
    ours = model_input(augment(pixels, augmentation.AUGMENTATION, generator), histology)
    pipeline = augmentation.pil_pipeline(images.shape[1], histology)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        theirs = torch.stack([pipeline(Image.fromarray(image)) for image in images])
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=0.1)
    assert ours.mean(dim=(1, 2, 3)).std().item() == pytest.approx(
        theirs.mean(dim=(1, 2, 3)).std().item(), rel=0.15
    )


def test_the_solver_and_sgd_find_equally_good_probes(chest, monkeypatch):
    monkeypatch.setattr(probes, "STRENGTHS", (1e-2, 1.0))
    noise = np.random.default_rng(0).normal(size=(len(chest.samples), 6)).astype(np.float32)
    labels = chest.labels()
    features = np.column_stack([noise, labels + 0.5 * noise[:, : labels.shape[1]]]).astype(np.float32)
    probing = probes.Probing(chest, [features])
    solved, trained = probes.by_solver(probing), probes.by_sgd(probing)
    assert solved > 0.9
    assert trained == pytest.approx(solved, abs=0.03)


def test_fine_tuning_is_measured(tmp_path):
    (row,) = finetuning.measure(ONCE, CPU, torch.device("cpu"), tmp_path)
    assert row.value.median > 0


@pytest.mark.slow
def test_cells_side_by_side_are_compared_with_one_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(
        gpu_sharing, "workloads_for", lambda _: [Workload("resnet18", 16, 4), Workload("resnet18", 128, 4)]
    )
    divided = CPU.model_copy(update={"threads": 2})
    brief = Effort(rounds=1, seconds=0.01, longest_step=60.0, workloads=2)
    one, two = gpu_sharing.measure(brief, divided, torch.device("cpu"), tmp_path)
    assert one.name.startswith("1 cell of 2 threads, moco, ResNet-18, 16 px")
    assert two.name.startswith("2 cells of 1 thread, ")
    assert one.ratio is None
    # Of one round, the ratio of the throughputs is that of the two figures.
    assert two.ratio.median == pytest.approx(two.value.median / one.value.median)


@pytest.mark.slow
def test_a_cell_that_ends_early_is_reported(tmp_path):
    workload, nowhere = Workload("resnet18", 16, 4), tmp_path / "nowhere"
    with pytest.raises(UserError, match="has ended"), gpu_sharing.cells(1, workload, nowhere, CPU):
        pass


def test_a_gpu_is_shared_by_up_to_eight_cells_and_so_are_many_cores():
    asked = gpu_sharing.arrangements(torch.device("cuda"), threads=16)
    assert [division.cells for division in asked] == [1, 2, 4, 8]
    asked = gpu_sharing.arrangements(torch.device("cpu"), threads=16)
    assert [(division.cells, division.threads) for division in asked] == [(1, 8), (8, 1)]
    assert len(gpu_sharing.arrangements(torch.device("cpu"), threads=1)) == 1


def test_analyses_are_measured_at_the_sizes_that_they_name(monkeypatch):
    times, peak = analyses.timed_cka(rounds=1, threads=1, rows=200, width=20)
    assert len(times) == 1
    assert peak > 10
    monkeypatch.setattr(analyses, "SAMPLES", 300)
    monkeypatch.setattr(analyses, "RESAMPLES", 7)
    labels, probabilities = analyses.scored_samples()
    assert labels.shape == probabilities.shape == (300, 14)
    assert analyses.bootstrap_of_auroc(labels, probabilities).shape == (7,)


def test_a_set_on_disk_is_prepared_and_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "BATCH", 2)
    monkeypatch.setattr(memory, "STEPS", 1)
    prepared = memory.prepare_large(tmp_path, images=60)
    trained = memory.pretrain_large(tmp_path)
    for peak in (prepared, trained):
        assert 10 < peak.anonymous <= peak.resident
    images = np.load(tmp_path / "large" / "images.npy", mmap_mode="r", allow_pickle=False)
    assert images.shape == (60, 224, 224, 1)


def test_an_unknown_group_is_refused(project):
    result = CliRunner().invoke(app, ["perf", "--only", "everything"])
    assert isinstance(result.exception, UserError)
    assert "there are: pretraining," in str(result.exception)


def test_the_verb_prints_a_table_or_json_and_writes_markdown(project, monkeypatch):
    row = suite.PerfRow("CKA", "small", "s", None, note="left out")
    monkeypatch.setattr(suite, "measure", lambda *_: iter([row]))
    assert "left out" in CliRunner().invoke(app, ["perf"]).stdout
    result = CliRunner().invoke(app, ["perf", "--json", "--markdown", "table.md", "--threads", "1"])
    content = json.loads(result.stdout)
    assert content["rows"][0]["note"] == "left out"
    assert content["machine"]["device"].endswith("1 threads")
    assert "| CKA | small |" in (project / "table.md").read_text()
