"""Sample images of a data set, each with two augmented views: what the encoder saw."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.cells.files import data_folder
from bench.datasets.pictures import augmented_views, label_words, png
from bench.protocol.protocol import Protocol
from bench.report.layout import Picture
from imssl.datasets.draw import draw_rows
from imssl.datasets.prepared import Card, read_prepared
from imssl.errors import UserError
from imssl.seeds import numpy_generator
from imssl.torch_seeds import torch_generator

IMAGES = 4
# Larger ones are made smaller: a page holds a few KB of pictures, not megabytes.
LARGEST = 96
LARGEST_THUMBNAIL = 48


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
    labels = prepared.labels()
    originals = np.stack([prepared.images[row] for row in chosen])
    draw = torch_generator(0, "sample views", dataset)
    first, second = augmented_views(originals, protocol.augmentation_of(dataset), draw)
    images = tuple(
        (
            _picture(
                originals[i],
                f"Training image {i + 1} of {dataset}: {label_words(prepared.card, labels[row])}",
            ),
            _picture(first[i], f"First augmented view of image {i + 1}"),
            _picture(second[i], f"Second augmented view of image {i + 1}"),
        )
        for i, row in enumerate(chosen)
    )
    height, width, _ = prepared.images.shape[1:]
    return Strip(f"{dataset}, {height} × {width} pixels", images)


def may_be_shown(card: Card) -> bool:
    """Whether images of a data set may be passed on: nobody's images, or a Creative Commons licence."""
    return card.synthetic or card.licence.startswith("CC")


def without_images(cards: Mapping[str, Card]) -> list[str]:
    """Data sets whose licence does not say that their images may be passed on."""
    return [dataset for dataset, card in cards.items() if not may_be_shown(card)]


def thumbnails(dataset: str, ids: Sequence[str]) -> dict[str, Picture]:
    """Small pictures of some test images by id; those that are not there are left out."""
    try:
        prepared = read_prepared(data_folder(dataset))
    except UserError:
        return {}
    test = prepared.indices("test")
    rows = dict(zip(prepared.samples["id"].iloc[test], test, strict=True))
    return {
        sample: _picture(prepared.images[rows[sample]], f"Test image {sample}", LARGEST_THUMBNAIL)
        for sample in ids
        if sample in rows
    }


def _picture(pixels: np.ndarray, words: str, largest: int = LARGEST) -> Picture:
    content, size = png(pixels, largest)
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", words, *size)
