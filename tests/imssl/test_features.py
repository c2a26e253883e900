"""Features of a frozen encoder against direct forward passes."""

import numpy as np
import pytest
import torch

from imssl.features import feature_spread, fingerprint, pooled_features

CPU = torch.device("cpu")


def by_hand(encoder, prepared, rows):
    """Normalise in NumPy, one image at a time through a copy of the encoder in eval mode."""
    mean, std = np.array(prepared.card.channel_mean), np.array(prepared.card.channel_std)
    images = ((prepared.images[rows] / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        outputs = [encoder(torch.from_numpy(image[None])) for image in images]
    encoder.train(was_training)
    return [np.concatenate([f.block(i).mean(dim=(2, 3)).numpy() for f in outputs]) for i in range(1, 5)]


@pytest.mark.parametrize("batch_size", [7, 256])
@pytest.mark.parametrize("training", [True, False])
def test_features_equal_a_direct_pass_of_each_image(encoder, histology, batch_size, training):
    for module in encoder.modules():  # statistics other than the initial ones
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(0))
    encoder.train(training)
    rows = np.array([30, 2, 2, 17, 5, 9, 11, 40, 8, 1])  # any order, the last batch smaller
    before = fingerprint(encoder)
    features = pooled_features(encoder, histology, rows, CPU, batch_size)
    assert encoder.training == training
    assert fingerprint(encoder) == before
    assert [block.shape for block in features] == [(10, 8), (10, 16), (10, 32), (10, 64)]
    for block, expected in zip(features, by_hand(encoder, histology, rows), strict=True):
        assert block.dtype == np.float32
        np.testing.assert_allclose(block, expected, rtol=1e-4, atol=1e-5)


def test_a_run_of_features_repeats_bit_for_bit(encoder, histology):
    rows = histology.indices("test")
    first, again = (pooled_features(encoder, histology, rows, CPU) for _ in range(2))
    assert all(map(np.array_equal, first, again))


@pytest.mark.parametrize("what", ["weight", "running statistic"])
def test_an_encoder_that_moves_is_noticed(encoder, histology, monkeypatch, what):
    original = encoder.forward

    def forward(images):
        with torch.no_grad():
            (encoder.conv1.weight if what == "weight" else encoder.bn1.running_var).add_(1e-6)
        return original(images)

    monkeypatch.setattr(encoder, "forward", forward)
    with pytest.raises(RuntimeError, match="frozen encoder changed"):
        pooled_features(encoder, histology, np.arange(4), CPU)


def test_a_fingerprint_is_of_names_and_values_not_of_memory_order(encoder):
    before = fingerprint(encoder)
    encoder.to(memory_format=torch.channels_last)
    assert fingerprint(encoder) == before
    with torch.no_grad():
        encoder.layer3[0].conv1.weight[0, 0, 0, 0] += 1e-6
    assert fingerprint(encoder) != before


def test_the_spread_is_one_for_noise_and_zero_for_a_collapse():
    draw = np.random.default_rng(0)
    noise = draw.normal(size=(4000, 64)).astype(np.float32)
    collapsed = np.tile(noise[:1], (4000, 1)) * draw.uniform(1, 2, size=(4000, 1))
    half = noise * (np.arange(64) < 16)
    spreads = feature_spread([noise, collapsed, half])
    assert spreads[0] == pytest.approx(1, abs=0.02)
    assert spreads[1] == pytest.approx(0, abs=1e-6)
    assert spreads[2] == pytest.approx(np.sqrt(64) * 16 / 64 / np.sqrt(16), abs=0.02)
