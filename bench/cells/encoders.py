"""Stored encoders: read back exactly, or not at all."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from bench.cells.files import ENCODER_FILE
from bench.protocol.protocol import Protocol
from imssl.datasets.prepared import Prepared
from imssl.encoder import Encoder
from imssl.errors import UserError


def load_encoder(folder: Path, protocol: Protocol, prepared: Prepared) -> Encoder:
    """The encoder of a pretraining cell, in eval mode, on the CPU.

    Raises:
        UserError: the file is missing, torn, or of another architecture.
    """
    encoder = Encoder(protocol.encoder, prepared.images.shape[-1])
    file = folder / ENCODER_FILE
    try:
        encoder.load_state_dict(load_file(file), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{file} is not the encoder of this protocol ({error}). Run: dvc repro") from None
    return encoder.eval()
