"""What has been found to fit is not looked at again, and everything else is."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.methods.encoders.fitting import FITTING, check_encoder
from imssl.encoder import new_encoder
from imssl.encoders import weights
from imssl.errors import UserError

ROW = "  moco:\n"


@pytest.fixture
def loaded(monkeypatch):
    """The number of channels of each encoder into which a file was loaded."""
    channels, load = [], weights.load_weights

    def noted(encoder, file):
        channels.append(encoder.channels)
        return load(encoder, file)

    monkeypatch.setattr(weights, "load_weights", noted)
    return channels


@pytest.fixture
def protocol(project, edited, monkeypatch):
    """Two data sets of grey images and one of colour, and a file for both kinds; a run has begun here."""
    Path(".bench").mkdir()
    # Asking each method takes a process, and the row that names a file itself is not asked.
    facts = SimpleNamespace(from_scratch=False)
    monkeypatch.setattr(
        "bench.methods.encoders.fitting.method_facts", lambda p: dict.fromkeys(p.methods, facts)
    )
    second = "  grey:\n    source: phantom\n    kind: chest\n    patients: 30\n    seed: 1\n    size: 20\n"
    edited(
        "  fundus:\n",
        second + "    channels: 1\n    horizontal_flip: true\n    vertical_flip: false\n  fundus:\n",
    )
    protocol = edited("initialisations: {}", "initialisations:\n  theirs: w.pt")
    torch.save(new_encoder(protocol.encoder, 3, seed=0).state_dict(), "w.pt")
    return edited(ROW, f"{ROW}    initialisation: theirs\n")


def test_a_file_is_loaded_once_for_grey_and_once_for_colour_images(protocol, loaded):
    check_encoder(protocol)
    check_encoder(protocol)
    assert sorted(loaded) == [1, 3]


def test_what_has_changed_is_looked_at_again(protocol, loaded, edited):
    check_encoder(protocol)
    torch.save(new_encoder(protocol.encoder, 3, seed=1).state_dict(), "w.pt")
    check_encoder(protocol)
    assert len(loaded) == 4
    check_encoder(edited("size: 20", "size: 24"))
    assert len(loaded) == 6
    with pytest.raises(UserError, match="does not hold the encoder"):
        check_encoder(edited("  width: 8\n", "  width: 16\n"))
    with pytest.raises(UserError, match="does not hold the encoder"):  # a refusal is no fit
        check_encoder(edited("seeds: [0]", "seeds: [1]"))


def test_a_damaged_note_is_no_fit(protocol, loaded):
    check_encoder(protocol)
    FITTING.write_text("{")
    check_encoder(protocol)
    assert len(loaded) == 4


def test_a_folder_without_a_run_gets_no_note(protocol, loaded):
    Path(".bench").rmdir()
    check_encoder(protocol)
    assert not Path(".bench").exists()


def test_random_weights_of_a_resnet_need_no_look(project, edited, monkeypatch):
    monkeypatch.setattr("bench.methods.encoders.fitting.method_facts", lambda protocol: 1 / 0)
    check_encoder(edited("seeds: [0]", "seeds: [1]"))
