"""Batch norm filled with the statistics of a data set's training images."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from imssl.batch_norm import fill_batch_norm
from imssl.datasets.prepared import Prepared
from imssl.encoder import Encoder
from imssl.features import evaluation_input
from imssl.training_images import TrainingImages, room


def fill_from_training_images(encoder: Encoder, images: TrainingImages, prepared: Prepared) -> float:
    """Fill batch norm with the statistics of the training images as they are, without augmentation.

    Args:
        encoder: on the device; it is changed in place.
        images: the training images, on the device.
        prepared: their data set.

    Returns:
        Seconds that it took.
    """
    started = time.perf_counter()

    def batches() -> Iterator[Tensor]:
        for index in torch.arange(len(images)).split(256):
            yield evaluation_input(images.take(index), prepared)

    fill_batch_norm(encoder.parts, batches, room(images.device))
    return time.perf_counter() - started
