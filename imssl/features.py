"""Features of a frozen encoder: one pass for all blocks, with a check that the encoder did not change."""

import hashlib

import numpy as np
import torch
from torch import Tensor, nn

from imssl.augment import normalise, to_float
from imssl.datasets.prepared import Prepared
from imssl.encoder import Encoder
from imssl.settings.encoder import BLOCKS
from imssl.training_images import TrainingImages


def pooled_features(
    encoder: Encoder, prepared: Prepared, rows: np.ndarray, device: torch.device, batch_size: int = 256
) -> list[np.ndarray]:
    """Globally pooled features of every block, in eval mode and float32.

    Args:
        encoder: on the device; its mode (training or eval) is restored afterwards.
        prepared: data set.
        rows: (N,) rows of the data set, in the order of the result.
        device: of the encoder.
        batch_size: images in a pass; the last, smaller batch is not dropped.

    Returns:
        Blocks 1 to 4, each (N, C_i) float32.

    Raises:
        RuntimeError: a weight or a running statistic has changed.
    """
    images = TrainingImages(prepared.images, rows, device)
    before = fingerprint(encoder)
    was_training = encoder.training
    encoder.eval()
    parts: list[list[np.ndarray]] = [[] for _ in range(BLOCKS)]
    with torch.inference_mode():
        for positions in torch.arange(len(rows)).split(batch_size):
            batch = evaluation_input(images.take(positions), prepared)
            features = encoder(batch)
            for i, part in enumerate(parts, start=1):
                part.append(features.pooled(i).float().cpu().numpy())
    encoder.train(was_training)
    if fingerprint(encoder) != before:
        raise RuntimeError("the frozen encoder changed while its features were extracted")
    return [np.concatenate(part) for part in parts]


def evaluation_input(images: Tensor, prepared: Prepared) -> Tensor:
    """An encoder's input for images that are not augmented: (B, C, H, W) uint8 to normalised float32."""
    return model_input(to_float(images), prepared)


def model_input(images: Tensor, prepared: Prepared) -> Tensor:
    """Normalise images (B, C, H, W) in [0, 1] with the training images' mean and deviation."""
    mean, std = torch.tensor(prepared.card.channel_mean), torch.tensor(prepared.card.channel_std)
    normalised = normalise(images, mean, std)
    return normalised.contiguous(memory_format=torch.channels_last)


def feature_spread(features: list[np.ndarray]) -> list[float]:
    """How far the normalised features of each block spread: 0 for a collapse, about 1 if isotropic.

    The deviation of L2-normalised features over samples, averaged over channels, times sqrt(D)
    (Chen and He 2021, section 4.1).
    """
    spreads = []
    for block in features:
        unit = block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)
        spreads.append(float(unit.std(axis=0).mean() * np.sqrt(block.shape[1])))
    return spreads


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over every weight and running statistic, in order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
