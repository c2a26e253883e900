"""Images of a prepared data set as a reader sees them: their labels in words, augmented views, and PNG."""

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from imssl.datasets.prepared import Card
from imssl.settings.augmentation import Augmentation

if TYPE_CHECKING:
    import torch

VIEWS = 2


def augmented_views(
    images: np.ndarray, augmentation: Augmentation, generator: "torch.Generator"
) -> list[np.ndarray]:
    """Two views of each image, as pretraining draws them.

    Args:
        images: (N, H, W, C) uint8.
        augmentation: of the data set.
        generator: of the draw.

    Returns:
        (N, H, W, C) uint8 for each of the views.
    """
    # Imported here: torch takes seconds, and who shows no views does without.
    import torch

    from imssl.augment import augment

    batch = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    views = [augment(batch, augmentation, generator) for _ in range(VIEWS)]
    return [view.clamp(0, 1).mul(255).round().byte().numpy().transpose(0, 2, 3, 1) for view in views]


def label_words(card: Card, labels: np.ndarray) -> str:
    """The classes of an image, in words.

    Args:
        card: of its data set.
        labels: of the image: a class, () int, or which classes it has, (K,) int.
    """
    if labels.ndim == 0:
        return card.classes[int(labels)]
    return ", ".join(card.classes[i] for i in np.flatnonzero(labels)) or "none of the classes"


def png(pixels: np.ndarray, largest: int | None = None) -> tuple[bytes, tuple[int, int]]:
    """An image as PNG, with its width and height.

    Args:
        pixels: (H, W, 1) or (H, W, 3) uint8.
        largest: side above which it is made smaller; None for never.
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if largest is not None:
        image.thumbnail((largest, largest))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue(), image.size
