"""The references of the suite are entered by their names, and what a row brought goes with it."""

from pathlib import Path

import pytest
import torch
import torchvision

from bench.methods.changes import remove
from bench.methods.encoders.initialisations import add_encoder, add_initialisation
from bench.methods.encoders.references import add_reference
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError


@pytest.fixture
def wide(project, edited):
    """The tiny protocol with a ResNet-18 of the usual width, and weights for it."""
    edited("  stem: small\n  width: 8\n", "  stem: imagenet\n  width: 64\n")
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), "r18.pth")
    return project


def test_supervised_is_entered_with_its_hyper_parameters(project):
    assert add_reference("supervised", None, ["views=1"]) == []
    assert read_protocol().methods["supervised"] == {"class_weights": "balanced", "views": 1}
    remove("supervised", delete_file=False)
    assert "supervised" not in read_protocol().methods


def test_imagenet_takes_a_file_or_what_is_known_already(wide, edited):
    before = Path("params.yaml").read_text()
    loaded = add_reference("imagenet", Path("r18.pth"), [])
    assert [read.summed for read in loaded] == ["conv1.weight", ""]  # grey chests, colour fundus
    assert read_protocol().methods["imagenet"] == {"initialisation": "imagenet"}
    assert read_protocol().initialisations == {"imagenet": "r18.pth"}
    assert remove("imagenet", delete_file=False) == ([], "imagenet")
    assert Path("params.yaml").read_text() == before
    edited("initialisations: {}", "initialisations: {imagenet: r18.pth}")
    assert add_reference("imagenet", None, []) == []
    assert read_protocol().methods["imagenet"] == {"initialisation": "imagenet"}
    Path("params.yaml").write_text(before)
    edited("  width: 64\n", "  width: 64\n  weights: r18.pth\n")
    add_reference("imagenet", None, [])
    assert read_protocol().methods["imagenet"] == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("moco", None, []), ["no reference", "supervised, imagenet"]),
        (("supervised", Path("r18.pth"), []), ["starts from scratch"]),
        (("supervised", None, ["views=0"]), ["views is 0"]),
        (("supervised", None, ["view=1"]), ["view is not a known key"]),
        (("imagenet", None, []), ["needs weights", "FILE"]),
        (("imagenet", Path("absent.pth"), []), ["absent.pth", "No such file"]),
        (("imagenet", Path("r18.pth"), ["views=1"]), ["views is not a known key"]),
    ],
)
def test_what_does_not_go_together_changes_nothing(wide, arguments, words):
    before = Path("params.yaml").read_bytes()
    with pytest.raises(UserError) as error:
        add_reference(*arguments)
    assert [word for word in words if word not in str(error.value)] == [], error.value
    assert Path("params.yaml").read_bytes() == before


def test_nothing_is_left_when_the_last_row_of_an_initialisation_goes(wide):
    before = Path("params.yaml").read_text()
    add_initialisation(Path("r18.pth"), "imagenet", ["moco"])
    add_encoder(Path("r18.pth"), "theirs", "chest")
    assert remove("moco-imagenet", delete_file=False) == ([], None)  # the row imagenet needs it
    assert remove("theirs", delete_file=False) == ([], "theirs")
    assert remove("imagenet", delete_file=False) == ([], "imagenet")
    assert Path("params.yaml").read_text() == before
    assert Path("r18.pth").is_file()
