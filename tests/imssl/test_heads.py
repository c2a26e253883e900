"""Heads against NumPy, and their shapes."""

import numpy as np
import pytest
import torch
from torch import nn

from imssl.heads import batch_norm_mlp, upsampling_decoder


@pytest.mark.parametrize("widths", [(5,), (6, 5), (7, 6, 5)])
def test_batch_norm_mlp_equals_numpy(widths):
    head = batch_norm_mlp(4, *widths)
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    expected = x.double().numpy()
    linears = [layer for layer in head if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linears] == list(widths)
    for i, layer in enumerate(linears):
        if i:  # between the layers, none after the last
            expected = (expected - expected.mean(axis=0)) / np.sqrt(expected.var(axis=0) + 1e-5)
            expected = np.maximum(expected, 0)
        expected = expected @ layer.weight.detach().double().numpy().T
    np.testing.assert_allclose(head(x).detach().numpy(), expected, atol=1e-5)
    assert all("bias" not in name or weight.ndim == 1 for name, weight in head.named_parameters())


@pytest.mark.parametrize(("factor", "side"), [(1, 6), (2, 3), (8, 4), (32, 1)])
def test_the_decoder_enlarges_by_its_factor(factor, side):
    decoder = upsampling_decoder(inputs=12, hidden=5, outputs=3, factor=factor)
    images = decoder(torch.randn(2, 12, side, side, generator=torch.Generator().manual_seed(0)))
    assert images.shape == (2, 3, factor * side, factor * side)


def test_what_is_decoded_lies_where_it_was_in_the_map():
    """A change in one corner of the map changes that corner of the image and leaves the other as it was."""
    decoder = upsampling_decoder(inputs=4, hidden=8, outputs=1, factor=4).eval()
    maps = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = maps.clone()
    changed[..., 0, 7] += 1
    difference = (decoder(changed) - decoder(maps)).abs()[0, 0]
    assert difference[:4, 28:].max() > 0
    assert difference[16:, :].max() == 0
    assert difference[:, :16].max() == 0
