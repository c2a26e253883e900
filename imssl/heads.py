"""Heads that stand on the encoder while it is pretrained and are thrown away afterwards."""

from torch import nn


def linear_head(inputs: int, outputs: int) -> nn.Module:
    """One linear layer (B, inputs) -> (B, outputs), as in MoCo v1."""
    return nn.Linear(inputs, outputs)


def mlp_head(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Two linear layers with a ReLU between them, as in MoCo v2 (Chen et al. 2020)."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))


def barlow_projector(inputs: int, width: int) -> nn.Module:
    """Three linear layers with batch norm and ReLU between them (Zbontar et al. 2021, section 3)."""
    return nn.Sequential(
        nn.Linear(inputs, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
    )
