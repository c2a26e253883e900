"""Exported encoders, loaded by torchvision and timm with the lines of their card."""

from pathlib import Path

import pytest
import torch

from imssl.encoder import new_encoder
from imssl.encoders.export import exported_weights, how_to_load
from imssl.settings.encoder import EncoderSettings, TimmSettings

CASES = [
    (EncoderSettings(name="resnet18", stem="imagenet"), 3, ["torchvision", "timm"]),
    (EncoderSettings(name="resnet18", stem="imagenet"), 1, ["torchvision", "timm"]),
    (EncoderSettings(name="resnet50", stem="small"), 1, ["torchvision", "timm"]),
    (EncoderSettings(name="resnet18", stem="lightly"), 3, ["torchvision", "timm"]),
    (TimmSettings(name="timm/test_vit"), 3, ["timm"]),
    (TimmSettings(name="timm/test_vit", pooling="mean"), 1, ["timm"]),
    (TimmSettings(name="timm/convnext_atto"), 1, ["timm"]),
]


@pytest.mark.parametrize(("settings", "channels", "libraries"), CASES, ids=lambda case: str(case)[:40])
def test_the_lines_of_the_card_give_the_same_features(settings, channels, libraries, tmp_path, monkeypatch):
    encoder = new_encoder(settings, channels, seed=0)
    images = torch.randn(2, channels, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        encoder.train()(images)  # statistics of its own
        expected = encoder.eval()(images).embedding
    file = tmp_path / "encoder.safetensors"
    file.write_bytes(exported_weights(encoder))
    lines = how_to_load(encoder, settings, file)
    assert list(lines) == libraries
    monkeypatch.chdir(tmp_path)
    for library in libraries:
        names = {}
        exec("\n".join(lines[library]), names)
        with torch.no_grad():
            torch.testing.assert_close(names["model"](images), expected, rtol=1e-5, atol=1e-5)


def test_a_narrow_resnet_is_said_to_fit_neither(tiny):
    lines = how_to_load(new_encoder(tiny, 3, seed=0), tiny, Path("encoder.safetensors"))
    assert list(lines) == ["neither"]
    assert "width 8" in lines["neither"]
