"""Stored encoders: read back exactly, or not at all."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.cells.files import ENCODER_FILE, STATISTICS_FILE
from bench.protocol.protocol import Protocol
from imssl.batch_norm import running_statistics
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


def batch_norm_before_filling(folder: Path, encoder: Encoder) -> dict[str, Tensor]:
    """The statistics that filling has replaced, by name in the encoder's state, on the CPU.

    Args:
        folder: of a pretraining cell whose batch norm was filled.
        encoder: of that cell.

    Raises:
        UserError: the file is missing, torn, or of another architecture.
    """
    file = folder / STATISTICS_FILE
    try:
        statistics = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read ({error}). Run: dvc repro") from None
    expected = running_statistics(encoder)
    if {name: tensor.shape for name, tensor in statistics.items()} != {
        name: tensor.shape for name, tensor in expected.items()
    }:
        raise UserError(f"{file} is not of the encoder beside it. Run: dvc repro")
    return statistics
