"""Heads that are put on the encoder for pretraining, and discarded afterwards."""

from torch import nn


def linear_head(inputs: int, outputs: int) -> nn.Module:
    """One linear layer (B, inputs) -> (B, outputs), as in MoCo v1."""
    return nn.Linear(inputs, outputs)


def mlp_head(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Two linear layers with a ReLU between them, as in MoCo v2 (Chen et al. 2020)."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))


def batch_norm_mlp(inputs: int, *widths: int) -> nn.Module:
    """Linear layers of these widths, with batch norm and ReLU between them; nothing follows the last one.

    With three layers it is the projector of Barlow Twins (Zbontar et al. 2021, section 3) and the expander of
    VICReg; with two, the projector and the predictor of BYOL (Grill et al. 2020, section 3.3). There are no
    biases, since batch norm, or the loss, would cancel them.
    """
    *hidden, outputs = widths
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs, bias=False))


def upsampling_decoder(inputs: int, hidden: int, outputs: int, factor: int) -> nn.Module:
    """Convolutions from maps (B, inputs, H, W) to images (B, outputs, factor * H, factor * W).

    Each of log2(factor) steps is a 3x3 convolution to four times as many channels, which a pixel shuffle
    (Shi et al. 2016) lays out as a map of twice the side; a last convolution gives the image.

    Args:
        inputs: channels of the maps.
        hidden: channels between the steps.
        outputs: channels of the images.
        factor: a power of 2.
    """
    layers: list[nn.Module] = []
    while factor > 1:
        layers += [
            nn.Conv2d(inputs, 4 * hidden, kernel_size=3, padding=1, bias=False),
            nn.PixelShuffle(2),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
        ]
        inputs, factor = hidden, factor // 2
    return nn.Sequential(*layers, nn.Conv2d(inputs, outputs, kernel_size=3, padding=1))
