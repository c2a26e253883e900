"""The encoder that the settings name: a ResNet, or one of timm's models."""

import torch

from imssl.encoders.encoder import Encoder, Features
from imssl.encoders.resnet import ResNet
from imssl.errors import UserError
from imssl.settings.encoder import EncoderSettings, TimmSettings
from imssl.torch_seeds import initialising

__all__ = ["Encoder", "Features", "build_encoder", "new_encoder", "refuse_image_size"]


def build_encoder(settings: EncoderSettings | TimmSettings, channels: int) -> Encoder:
    """An encoder with weights drawn from torch's global generator, which are to be replaced.

    Args:
        settings: which architecture; ``weights`` is not read here.
        channels: 1 for grey images, 3 for colour.

    Raises:
        UserError: timm has no such model, or one that cannot be an encoder here.
    """
    if isinstance(settings, EncoderSettings):
        return ResNet(settings, channels)
    # Imported here: timm takes a second, and ResNets do without.
    from imssl.encoders.timm_models import TimmEncoder

    return TimmEncoder(settings, channels)


def new_encoder(settings: EncoderSettings | TimmSettings, channels: int, seed: int) -> Encoder:
    """The random encoder of a run: the same seed gives the same weights to every method."""
    with initialising(seed, "encoder"):
        return build_encoder(settings, channels)


def refuse_image_size(encoder: Encoder, name: str, size: int) -> None:
    """See whether an encoder takes images of a size; ResNets take every one.

    Args:
        encoder: on the CPU; its mode is restored.
        name: of the architecture, for the message.
        size: side of the images in pixels.

    Raises:
        UserError: it does not.
    """
    if isinstance(encoder, ResNet):
        return
    was_training = encoder.training
    try:
        with torch.no_grad():
            encoder.eval()(torch.zeros(1, encoder.channels, size, size))
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        raise UserError(
            f"params.yaml: encoder.name is {name}, which does not take images of {size} x {size} pixels "
            f"({error}). Change size of the data set, or take another encoder."
        ) from None
    finally:
        encoder.train(was_training)
