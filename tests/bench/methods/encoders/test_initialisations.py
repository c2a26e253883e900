"""Encoders from elsewhere, other starts and the references with labels, from the command to the page."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import torchvision
from lightly.loss import NTXentLoss
from lightly.models.modules import MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from safetensors.torch import load_file, save_file
from torch import nn

from bench.cells.files import METRICS_FILE, STARTING_POINT_FILE, cell_path, read_json
from bench.cells.keys import Keys
from bench.cells.method_facts import reference_methods
from bench.cells.records import read_record
from bench.launch.run_cells import run_cells
from bench.methods.encoders.exported import export_encoder
from bench.methods.encoders.initialisations import add_encoder, add_initialisation
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from bench.report.leaderboard import write_reports
from imssl.errors import UserError
from imssl.settings.labels import EVERYTHING

WIDE = ("  stem: small\n  width: 8\n", "  stem: imagenet\n  width: 64\n")


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


def lightly_state():
    """After two steps of lightly's own training."""
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


def pretrain_cell(method, dataset="fundus"):
    return cell_path(Cell("pretrain", dataset, method, 0))


@pytest.fixture
def wide(prepared_project, edited, monkeypatch):
    """The tiny protocol with a ResNet-18 of the usual width, run in this process."""
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "1")
    edited(*WIDE)
    edited("  moco:\n", "  supervised: {views: 1}\n  moco:\n")
    edited("epochs: 2\n  batch_size: 16", "steps: 2\n  batch_size: 16")
    torch.save(resnet().state_dict(), "torchvision.pth")
    return prepared_project


@pytest.mark.slow
def test_encoders_from_torchvision_lightly_and_this_suite_are_rows(wide):
    torch.save(lightly_state(), "lightly.pth")
    run_cells("pretrain", "fundus", ["moco"], read_protocol())
    exported = export_encoder("fundus", "moco", None, Path("out"), read_protocol())
    card = json.loads(exported.card.read_text())
    assert card["sha256"] == hashlib.sha256(exported.weights.read_bytes()).hexdigest()
    assert exported.loaded_by == ["torchvision", "timm"]
    files = {"from-torchvision": "torchvision.pth", "from-lightly": "lightly.pth"}
    for name, file in files.items():
        add_encoder(Path(file), name, None)
    add_encoder(exported.weights, "ours", "fundus")
    add_initialisation(Path("torchvision.pth"), "imagenet", ["moco"])
    protocol = read_protocol()
    rows = [*files, "ours", "imagenet", "moco-imagenet", "supervised"]
    for row in rows:
        run_cells("pretrain", "fundus", [row], protocol)
    run_cells("pretrain", "chest", ["ours"], protocol)
    run_cells("knn", "fundus", rows, protocol)

    for row in rows:
        predicted = read_json(cell_path(Cell("knn", "fundus", row, 0, EVERYTHING)) / METRICS_FILE)
        assert any(number["metric"] == "qwk" for number in predicted)
    for row in ("from-torchvision", "imagenet"):
        stored = load_file(pretrain_cell(row) / "encoder.safetensors")
        assert torch.equal(stored["layer4.1.conv2.weight"], resnet().layer4[1].conv2.weight)
        sha = hashlib.sha256(Path("torchvision.pth").read_bytes()).hexdigest()
        assert read_record(pretrain_cell(row)).provenance.weights == sha
        assert read_json(pretrain_cell(row) / STARTING_POINT_FILE)["sha256"] == sha
    trained = load_file(pretrain_cell("moco-imagenet") / "encoder.safetensors")
    assert not torch.equal(trained["layer4.1.conv2.weight"], resnet().layer4[1].conv2.weight)
    assert read_record(pretrain_cell("moco")).provenance.weights is None
    failed = read_record(pretrain_cell("ours", "chest"))
    assert failed.status == "failed"
    assert "no file for chest" in failed.reason

    page = write_reports(protocol).read_text()
    for name in (*files, "ours"):
        assert f"{name} was pretrained elsewhere: data, length and augmentation unknown" in page
    assert sha in page
    assert set(reference_methods(protocol)) == {"random-init", "supervised", "imagenet"}


def test_the_weights_of_the_encoder_section_are_the_start_of_every_row_but_those_from_scratch(wide, edited):
    cells = {row: Cell("pretrain", "chest", row, 0) for row in ("moco", "supervised", "random-init")}
    old = {row: Keys(read_protocol()).key(cell) for row, cell in cells.items()}
    protocol = edited("  width: 64\n", "  width: 64\n  weights: torchvision.pth\n")
    new = {row: Keys(protocol).key(cell) for row, cell in cells.items()}
    assert {row for row in old if old[row] != new[row]} == {"moco"}
    torch.save(nn.Linear(2, 2).state_dict(), "torchvision.pth")
    assert Keys(protocol).key(cells["moco"]) != new["moco"]  # by content, not by name
    Path("torchvision.pth").unlink()
    with pytest.raises(UserError, match=r"line \d+: encoder.weights is torchvision.pth"):
        Keys(protocol).key(cells["moco"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("small.pth", "theirs", None), ["another shape", "conv1.weight"]),
        (("torchvision.pth", "moco", None), ["moco is already a row"]),
        (("torchvision.pth", "Theirs", None), ["lower-case"]),
        (("torchvision.pth", "theirs", "skin"), ["skin", "chest, fundus"]),
        (("absent.pth", "theirs", None), ["absent.pth", "No such file"]),
    ],
)
def test_a_wrong_command_changes_nothing(wide, arguments, words):
    torch.save({name: t[:8] for name, t in resnet().state_dict().items() if t.ndim}, "small.pth")
    before = Path("params.yaml").read_bytes()
    file, name, dataset = arguments
    with pytest.raises(UserError) as error:
        add_encoder(Path(file), name, dataset)
    assert [word for word in words if word not in str(error.value)] == []
    assert Path("params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("encoder", "advice"),
    [
        ("  stem: imagenet\n  width: 16\n", "The file is of width 64: set encoder.width: 64 in params.yaml."),
        ("  stem: small\n  width: 16\n", "set encoder.width: 64 and encoder.stem: imagenet in params.yaml."),
        ("  stem: small\n  width: 64\n", "The file is of stem imagenet: set encoder.stem: imagenet"),
    ],
)
def test_a_file_of_another_width_is_told_by_the_width(wide, edited, encoder, advice):
    edited(WIDE[1], encoder)
    save_file(resnet().state_dict(), "torchvision.safetensors")
    with pytest.raises(UserError) as error:
        add_encoder(Path("torchvision.safetensors"), "theirs", None)
    message = str(error.value)
    assert advice in message.splitlines()[0]
    assert len(message) < 1200
    shapes = next(line for line in message.splitlines() if line.startswith("of another shape"))
    named = [shape.split(" is ")[0] for shape in shapes.partition(": ")[2].split("; ") if " is " in shape]
    assert named == sorted(named)


def test_a_whole_model_is_refused_without_the_codes_of_a_terminal(wide):
    torch.save(nn.Linear(2, 2), "model.pth")
    with pytest.raises(UserError, match="save the state dict alone") as error:
        add_encoder(Path("model.pth"), "theirs", None)
    assert "x1b" not in str(error.value)


def test_a_row_takes_a_file_for_each_data_set(wide):
    add_encoder(Path("torchvision.pth"), "theirs", "chest")
    add_encoder(Path("torchvision.pth"), "theirs", "fundus")
    assert read_protocol().initialisations == {
        "theirs": dict.fromkeys(("chest", "fundus"), "torchvision.pth")
    }
    with pytest.raises(UserError, match="for chest too"):
        add_encoder(Path("torchvision.pth"), "theirs", "chest")
