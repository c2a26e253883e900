"""Encoders from elsewhere and backbones of timm, by the commands of docs/encoders.md, up to the page."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import torchvision
from lightly.loss import NTXentLoss
from lightly.models.modules import MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import nn

from tests.bench.edit_harness import make_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="needs git"),
]
RESNET = "encoder:\n  name: resnet18\n  stem: small\n  width: 8\n"
MOCO = "hidden: 16\n    dimension: 8\n    queue: 32\n    temperature: 0.2\n    batch_norm_splits: 1\n"


@pytest.fixture
def bench(tmp_path):
    """Replace passages of params.yaml in a project of one grey data set, run a verb; what it printed."""
    folder = tmp_path / "project"
    make_project(folder)

    def run(*arguments, changes=()):
        params = folder / "params.yaml"
        text = params.read_text()
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        params.write_text(text)
        if not arguments:
            return ""
        ended = subprocess.run(
            [sys.executable, "-m", "bench", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder), "IMSSL_BENCH_WORKERS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-5000:]
        return ended.stdout

    run.folder = folder
    return run


def resnet():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return torchvision.models.resnet18(weights=None)


class LightlyMoco(nn.Module):
    """As in lightly's example of MoCo."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(*list(resnet().children())[:-1])
        self.projection_head = MoCoProjectionHead(512, 512, 128)
        self.backbone_momentum = nn.Sequential(*list(resnet().children())[:-1])
        deactivate_requires_grad(self.backbone_momentum)


def trained_by_lightly():
    """The state after two steps of lightly's own training."""
    model = LightlyMoco()
    loss_of, optimizer = NTXentLoss(memory_bank_size=(64, 128)), torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(2):
        update_momentum(model.backbone, model.backbone_momentum, m=0.99)
        views = torch.randn(2, 8, 3, 32, 32)
        query = model.projection_head(model.backbone(views[0]).flatten(1))
        key = model.projection_head(model.backbone_momentum(views[1]).flatten(1)).detach()
        optimizer.zero_grad()
        loss_of(query, key).backward()
        optimizer.step()
    return model.state_dict()


def results(folder):
    """The cells that have no result, and the primary metric of frozen features by evaluation and method."""
    document = json.loads((folder / "reports" / "results.json").read_text())
    holes = [f"{cell['stage']} {cell['method']}: {cell['reason']}" for cell in document["cells"]
             if cell["status"] != "done"]  # fmt: skip
    values = {
        (row["evaluation"], row["method"]): row["mean"]
        for row in document["measurements"]
        if row["metric"] == "macro_auroc" and row["evaluation"] in ("knn", "frozen", "finetune")
    }
    return holes, values, document


def test_encoders_of_lightly_torchvision_and_this_suite_become_rows(bench):
    bench(changes=[(RESNET, "encoder:\n  name: resnet18\n  stem: imagenet\n  width: 64\n"),
                   ("label_fractions: [0.5, 1.0]", "label_fractions: [1.0]"),
                   ("epochs: 2\n  batch_size: 16", "steps: 3\n  batch_size: 16")])  # fmt: skip
    torch.save(trained_by_lightly(), bench.folder / "lightly.pth")
    torch.save({"state_dict": resnet().state_dict(), "epoch": 90}, bench.folder / "torchvision.pth")
    bench("repro")
    told = bench("export-encoder", "chest", "moco", "--out", "encoders")
    assert "with torchvision and with timm" in told
    told = bench("add-encoder", "lightly.pth", "--name", "from-lightly")
    assert "Names were read without 'backbone.'." in told
    assert "conv1.weight has three channels, which are summed to one." in told
    bench("add-encoder", "torchvision.pth", "--name", "from-torchvision")
    bench("add-encoder", "encoders/moco-chest-seed-0.safetensors", "--name", "exported", "--dataset", "chest")
    bench("add-initialisation", "torchvision.pth", "--name", "imagenet", "--method", "moco")
    bench("add-reference", "supervised", "--set", "views=1")
    bench("repro")

    holes, values, document = results(bench.folder)
    assert holes == []
    rows = {"random-init", "moco", "from-lightly", "from-torchvision", "exported", "imagenet",
            "moco-imagenet", "supervised"}  # fmt: skip
    for evaluation in ("knn", "frozen", "finetune"):
        assert {method for name, method in values if name == evaluation} == rows
    # Its weights are those of moco, and its batch norm is filled from the same images.
    for evaluation in ("knn", "frozen"):
        assert values[evaluation, "exported"] == pytest.approx(values[evaluation, "moco"], abs=1e-6)
    # The same file: as it is, and as a row that competes.
    assert values["knn", "imagenet"] == values["knn", "from-torchvision"]
    ranked = {row["method"] for row in document["ranks"] if row["rank"] is not None}
    assert ranked == rows - {"random-init", "imagenet", "supervised"}
    page = (bench.folder / "reports" / "leaderboard.html").read_text()
    for name in ("from-lightly", "from-torchvision", "exported"):
        assert f"{name} was pretrained elsewhere: data, length and augmentation unknown" in page


@pytest.mark.parametrize(
    ("encoder", "examples"),
    [
        ("timm/test_vit", ["medaug", "nnclr", "dino", "vicregl"]),
        ("timm/convnext_atto\n  pooling: mean", []),
    ],
)
def test_methods_pretrain_a_vit_and_a_convnext_through_the_pipeline(bench, encoder, examples):
    grids = "    block_grids: [1, 1, 1, 1]\n"
    others = f"  moco-mse:\n    {MOCO}{grids}  moco-barlow:\n    {MOCO}    projection: 16\n"
    bench(changes=[(RESNET, f"encoder:\n  name: {encoder}\n"),
                   ("    size: 16\n", "    size: 32\n"),
                   ("label_fractions: [0.5, 1.0]", "label_fractions: [1.0]"),
                   ("epochs: 2\n  batch_size: 16", "steps: 3\n  batch_size: 16"),
                   (f"  moco:\n    {MOCO}", f"  moco:\n    {MOCO}{others}")])  # fmt: skip
    for name in examples:
        # Its queue of 4096 keys is for more than 91 training images, and is refused with a word.
        smaller = ("--set", "queue=32") if name == "medaug" else ()
        bench("add-method", name, "--no-check", *smaller)
    bench("repro")
    holes, values, _ = results(bench.folder)
    assert holes == []
    methods = {"random-init", "moco", "moco-mse", "moco-barlow", *examples}
    assert {method for evaluation, method in values if evaluation == "knn"} == methods
    assert all(0 <= value <= 1 for value in values.values())
