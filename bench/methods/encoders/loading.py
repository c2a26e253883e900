"""Weights read into an encoder for a command: what does not fit is said briefly, with what would."""

import re
from pathlib import Path

from imssl.encoder import build_encoder
from imssl.encoders import weights
from imssl.encoders.encoder import Encoder
from imssl.errors import UserError
from imssl.settings.encoder import EncoderSettings, TimmSettings

# Tried where the shapes are others; the first is that of torchvision and timm.
WIDTHS = (64, 32, 16, 8)
STEMS = ("imagenet", "small")
SHAPES = "of another shape"
# How many of the shapes that differ are shown.
SHOWN = 6
# torch writes its errors for a terminal, and UserError has made the codes of bold text visible.
BOLD = re.compile(r"\\x1b\[[0-9;]*m")


def load_or_advise(
    encoder: Encoder, settings: EncoderSettings | TimmSettings, channels: int, file: Path
) -> weights.LoadedWeights:
    """Read a file into an encoder, as `imssl.encoders.weights.load_weights` does.

    Args:
        encoder: on the CPU.
        settings: by which it was built.
        channels: of its images.
        file: safetensors or a state dict.

    Raises:
        UserError: the file does not fit; where only the width or the stem is another, the message says which.
    """
    try:
        return weights.load_weights(encoder, file)
    except UserError as error:
        message = BOLD.sub("", str(error))
        if SHAPES not in message:
            raise UserError(message) from None
        lines = [_shortened(line) if line.startswith(SHAPES) else line for line in message.splitlines()]
        raise UserError("\n".join([*_what_fits(settings, channels, file), *lines])) from None


def _shortened(line: str) -> str:
    """The line on shapes, sorted, with the first few of many."""
    heading, _, listed = line.partition(": ")
    shapes = sorted(listed.split("; "))
    more = f"; and {len(shapes) - SHOWN} more" if len(shapes) > SHOWN else ""
    return f"{heading}: {'; '.join(shapes[:SHOWN])}{more}"


def _what_fits(settings: EncoderSettings | TimmSettings, channels: int, file: Path) -> list[str]:
    """A sentence on the width or stem at which a ResNet would fit the file; none if no usual one does."""
    if isinstance(settings, TimmSettings):
        return []
    for stem in dict.fromkeys((settings.stem, *STEMS)):
        for width in WIDTHS:
            other = settings.model_copy(update={"stem": stem, "width": width})
            try:
                weights.load_weights(build_encoder(other, channels), file)
            except UserError:
                continue
            values = {"width": width, "stem": stem}
            differing = {key: value for key, value in values.items() if getattr(settings, key) != value}
            has = " and ".join(f"{key} {value}" for key, value in differing.items())
            keys = " and ".join(f"encoder.{key}: {value}" for key, value in differing.items())
            return [f"The file is of {has}: set {keys} in params.yaml."]
    return []
