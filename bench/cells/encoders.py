"""Stored encoders, read back exactly or not at all, and their features, which are extracted once.

Every evaluation of a frozen encoder reads the same features. They are kept below .bench/ and not among the
results, because they are large (4 bytes for each channel of each block and image: 3.8 KB an image for a
ResNet-18, 15 KB for a ResNet-50) and an encoder gives them again: results lie on disk three times, features
once, and they may be deleted at any time.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.cells.files import (
    ENCODER_FILE,
    FEATURES,
    RESTORED_FILE,
    SHARED_STORE,
    STATISTICS_FILE,
    keep_arrays,
)
from bench.cells.fingerprints import digest, module_fingerprint
from bench.cells.job import Job
from bench.protocol.cell import built_on
from bench.protocol.protocol import Protocol
from imssl.batch_norm import running_statistics
from imssl.datasets.prepared import Prepared
from imssl.device import on_device
from imssl.encoder import Encoder, build_encoder
from imssl.errors import UserError

# Encoder, data set, rows and device in; the pooled features of blocks 1 to 4 out, each (N, C_i) float32.
Extract = Callable[[Encoder, Prepared, np.ndarray, torch.device], list[np.ndarray]]


def load_encoder(folder: Path, protocol: Protocol, prepared: Prepared) -> Encoder:
    """The encoder of a pretraining cell, in eval mode, on the CPU.

    Raises:
        UserError: the file is missing, torn, or of another architecture.
    """
    encoder = build_encoder(protocol.encoder, prepared.images.shape[-1])
    file = folder / ENCODER_FILE
    try:
        encoder.load_state_dict(load_file(file), strict=True)
    except OSError as error:
        if (folder / RESTORED_FILE).is_file():
            raise UserError(_not_in_a_study(folder)) from None
        raise UserError(f"{file} cannot be read ({error.strerror or error}). Run: dvc repro") from None
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{file} is not the encoder of this protocol ({error}). Run: dvc repro") from None
    return encoder.eval()


def _not_in_a_study(folder: Path) -> str:
    return (
        f"{folder} was brought back from a published study, which holds no encoders. To compute this one "
        f"again, delete its folders in {SHARED_STORE / 'cells' / 'pretrain'} and results/, "
        "and run: bench repro"
    )


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


def encoder_features(job: Job, extract: Extract, blocks: Sequence[int]) -> list[np.ndarray]:
    """Pooled features of every sample of a cell's data set; extracted if no other cell has done so.

    Args:
        job: a cell of a stage that builds on ``pretrain``.
        extract: how. The stage passes it in, so that its code counts among the stage's own.
        blocks: which are wanted, 1 to 4.

    Returns:
        (N, C_i) float32 for each of the blocks, in the data set's order.

    Raises:
        Diverged, UserError: as :meth:`Job.built_on`.
    """
    pretrained = job.built_on("pretrain")
    file = FEATURES / f"{_features_key(job, extract)}.npz"
    try:
        with np.load(file, allow_pickle=False) as stored:
            return [stored[_block_name(block)] for block in blocks]
    except (OSError, ValueError, KeyError, BadZipFile, EOFError):
        encoder = load_encoder(pretrained, job.protocol, job.prepared)
        on_device(encoder, job.device)
        rows = np.arange(len(job.prepared.samples))
        features = extract(encoder, job.prepared, rows, job.device)
    keep_arrays(file, {_block_name(block): array for block, array in enumerate(features, start=1)})
    return [features[block - 1] for block in blocks]


def _features_key(job: Job, extract: Extract) -> str:
    """Hash of what decides the features: encoder and images, which have keys, code, and kind of device."""
    (pretrained,) = (cell for cell in built_on(job.cell, job.protocol) if cell.stage == "pretrain")
    content = [job.keys.key(pretrained), digest(module_fingerprint(extract.__module__)), job.device.type]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _block_name(block: int) -> str:
    return f"block_{block}"
