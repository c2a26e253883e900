"""Sample images of a data set, each with two augmented views: what the encoder saw."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bench.cells.files import data_folder
from bench.protocol.protocol import Protocol
from imssl.datasets.draw import draw_rows
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.errors import UserError
from imssl.seeds import numpy_generator, torch_generator

IMAGES = 4
# Larger ones are made smaller: a page holds a few KB of pictures, not megabytes.
LARGEST = 96


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it.

    Attributes:
        address: ``data:`` URL of a PNG.
        words: the same in words.
        width: of the PNG in pixels.
        height: likewise.
    """

    address: str
    words: str
    width: int
    height: int


@dataclass(frozen=True)
class Strip:
    """A few images of a data set, each beside its views."""

    title: str
    images: tuple[tuple[Picture, ...], ...]


def sample_strip(dataset: str, protocol: Protocol) -> Strip | None:
    """Some training images and two views of each; None where the data set is not there.

    The views are drawn as in pretraining; which images, of different patients where there are as many, and
    which views is decided by the data set's name.
    """
    try:
        prepared = read_prepared(data_folder(dataset))
    except UserError:
        return None
    rows = prepared.indices("train")
    if not rows.size:
        return None
    chosen = draw_rows(prepared, rows, IMAGES, numpy_generator(0, "samples", dataset))
    originals = np.stack([prepared.images[row] for row in chosen])
    first, second = _views(originals, dataset, protocol)
    images = tuple(
        (
            _picture(originals[i], f"Training image {i + 1} of {dataset}: {_labels(prepared, int(row))}"),
            _picture(first[i], f"First augmented view of image {i + 1}"),
            _picture(second[i], f"Second augmented view of image {i + 1}"),
        )
        for i, row in enumerate(chosen)
    )
    height, width, _ = prepared.images.shape[1:]
    return Strip(f"{dataset}, {height} × {width} pixels", images)


def _views(originals: np.ndarray, dataset: str, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Two views of each image, (N, H, W, C) uint8."""
    import torch

    from imssl.augment import augment

    images = torch.from_numpy(np.ascontiguousarray(originals.transpose(0, 3, 1, 2)))
    generator = torch_generator(0, "sample views", dataset)
    augmentation = protocol.augmentation_of(dataset)
    views = [augment(images, augmentation, generator).mul(255).round().byte() for _ in range(2)]
    first, second = (view.numpy().transpose(0, 2, 3, 1) for view in views)
    return first, second


def _labels(prepared: Prepared, row: int) -> str:
    labels, classes = prepared.labels()[row], prepared.card.classes
    if prepared.card.task == "multilabel":
        return (
            ", ".join(name for name, present in zip(classes, labels, strict=True) if present) or "no finding"
        )
    return classes[int(labels)]


def _picture(pixels: np.ndarray, words: str) -> Picture:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((LARGEST, LARGEST))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    address = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Picture(address, words, *image.size)


def strips(datasets: Sequence[str], protocol: Protocol) -> list[Strip]:
    """The strips of the data sets that are there."""
    strips = [sample_strip(dataset, protocol) for dataset in datasets]
    return [strip for strip in strips if strip is not None]
