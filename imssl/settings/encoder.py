"""Settings of the encoder."""

from typing import Literal

from pydantic import Field

from imssl.settings.base import Settings

# Every encoder has four blocks, whatever its depth: features are compared, probed and constrained by block.
BLOCKS = 4


class EncoderSettings(Settings):
    """Which ResNet is pretrained.

    Attributes:
        name: torchvision's name of the architecture (He et al. 2016, table 1).
        stem: ``imagenet`` is a 7x7 convolution of stride 2 and a max-pool; ``small`` a 3x3 convolution
            of stride 1 without pooling, usual for images of about 32 px.
        width: channels of the first block; 64 in the literature, less for a quick trial.
    """

    name: Literal["resnet18", "resnet34", "resnet50"]
    stem: Literal["imagenet", "small"]
    width: int = Field(default=64, ge=8, le=256)
