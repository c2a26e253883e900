"""Settings of the encoder."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from imssl.settings.base import Settings, is_empty

# Every encoder has four blocks, whatever its depth: features are compared, probed and constrained by block.
BLOCKS = 4

# Channels of a ResNet's first block in the literature; torchvision and timm build no other.
STANDARD_WIDTH = 64

# What the names of timm's models begin with.
TIMM = "timm/"


class _Starting(Settings):
    """What every kind of encoder may say.

    Attributes:
        weights: a file with weights from which every row starts, as imssl.encoders.weights reads it; None for
            random ones, drawn from the seed.
    """

    weights: str | None = Field(default=None, min_length=1, exclude_if=is_empty)


class EncoderSettings(_Starting):
    """Which ResNet is pretrained.

    Attributes:
        name: torchvision's name of the architecture (He et al. 2016, table 1).
        stem: ``imagenet`` is a 7x7 convolution of stride 2 and a max-pool; ``small`` a 3x3 convolution
            of stride 1 without pooling, usual for images of about 32 px; ``lightly`` the same without the
            ReLU after its batch norm, which is what lightly's ``ResNetGenerator`` becomes in an
            ``nn.Sequential`` of its children.
        width: channels of the first block; 64 in the literature, less for a quick trial.
    """

    name: Literal["resnet18", "resnet34", "resnet50"]
    stem: Literal["imagenet", "small", "lightly"]
    width: int = Field(default=STANDARD_WIDTH, ge=8, le=256)

    @property
    def width_words(self) -> str:
        """Such as `` of width 16``; empty for the usual width."""
        return "" if self.width == STANDARD_WIDTH else f" of width {self.width}"


class TimmSettings(_Starting):
    """Which of timm's models is pretrained; see imssl.encoders.timm_models.

    Attributes:
        name: ``timm/`` and timm's name of the architecture, such as ``timm/convnext_atto``, without the tag
            of pretrained weights.
        pooling: what stands for the whole image: the ``class token`` of a transformer, or the ``mean`` over
            all places. None for what the model does by itself.
    """

    name: str = Field(pattern=r"^timm/[a-z0-9_]+$")
    pooling: Literal["class token", "mean"] | None = Field(default=None, exclude_if=is_empty)

    @property
    def width_words(self) -> str:
        """Empty: the name says it all."""
        return ""


def _family(encoder: Any) -> str:
    name = encoder.get("name") if isinstance(encoder, dict) else getattr(encoder, "name", None)
    return "timm" if isinstance(name, str) and name.startswith(TIMM) else "resnet"


AnyEncoder = Annotated[
    Annotated[EncoderSettings, Tag("resnet")] | Annotated[TimmSettings, Tag("timm")], Discriminator(_family)
]
