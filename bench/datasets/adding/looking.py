"""A look at a user's images: which there are, and what they look like."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from bench.datasets.adding.recognised import hint_of
from imssl.datasets import dicom
from imssl.datasets.files import Reading, of_zips
from imssl.datasets.images import decode, largest_grey
from imssl.datasets.skipped import by_reason
from imssl.datasets.source import BadImage
from imssl.datasets.user_images import UserImages, user_images
from imssl.errors import UserError

Item = TypeVar("Item")

# Of many images so many, evenly spread, are decoded to learn their sizes and modes.
DECODED = 400


@dataclass(frozen=True)
class Appearance:
    """What images look like, by those that were decoded.

    Attributes:
        decoded: how many.
        sizes: (width, height) and how often it occurs, the most frequent first.
        modes: ``grey``, ``colour`` or ``DICOM``, and how often each occurs.
        grey: whether all are grey, or have three equal channels.
        largest_grey: the largest value of 16-bit greys; None if there are none, or DICOM images as well, for
            which a window means something else.
        unreadable: (name, reason) of those that cannot be decoded.
    """

    decoded: int
    sizes: list[tuple[tuple[int, int], int]]
    modes: dict[str, int]
    grey: bool
    largest_grey: int | None
    unreadable: list[tuple[str, str]]

    @property
    def shorter_side(self) -> int:
        """Median of the shorter side, in pixels; 0 if nothing could be decoded."""
        sides = [min(size) for size, count in self.sizes for _ in range(count)]
        return int(np.median(sides)) if sides else 0


def images_below(path: Path, follow_links: Sequence[Path]) -> UserImages:
    """The images of a folder or zip.

    Raises:
        UserError: there are none.
    """
    images = user_images(path, Reading(tuple(follow_links)))
    if not images.names:
        kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in images.files.names)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "nothing"
        refused = f" {len(images.files.refused)} links are not followed; see --follow-links." * bool(
            images.files.refused
        )
        faults = "".join(
            f"\n  {group.count:,}: {group.reason}: {', '.join(group.first)}"
            for group in by_reason(images.bad)
        )
        arrays = [name for name in images.files.names if name.endswith(".npz")]
        medmnist = f" A file of MedMNIST is given by itself: {path / arrays[0]}" if arrays else ""
        raise UserError(
            f"{path} holds no images that can be read; it holds {listed}."
            f"{refused}{of_zips(images.files)}{medmnist} {hint_of(images.files.names)}".rstrip()
            + faults
        )
    return images


def appearance(names: Sequence[str], read: Callable[[str], bytes]) -> Appearance:
    """Sizes and modes of images, by at most `DECODED` of them.

    Args:
        names: of the images.
        read: content of an image by its name; raises BadImage.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    grey, has_dicom, largest, unreadable = True, False, None, []
    for name in evenly_spread(names):
        try:
            content = read(name)
            is_dicom = dicom.is_dicom(content)
            pixels = dicom.decode(content, name, None) if is_dicom else decode(content, name)
            sixteen_bits = None if is_dicom else largest_grey(content, name)
        except BadImage as bad:
            unreadable.append((bad.name, bad.reason))
            continue
        has_dicom = has_dicom or is_dicom
        if sixteen_bits is not None:
            largest = max(largest or 0, sixteen_bits)
        sizes[pixels.shape[1], pixels.shape[0]] += 1
        coloured = is_coloured(pixels)
        modes[("DICOM, " if is_dicom else "") + ("colour" if coloured else "grey")] += 1
        grey = grey and not coloured
    return Appearance(
        decoded=sum(sizes.values()),
        sizes=sizes.most_common(),
        modes=dict(modes),
        grey=grey,
        largest_grey=None if has_dicom else largest,
        unreadable=unreadable,
    )


def evenly_spread(images: Sequence[Item]) -> Sequence[Item]:
    """At most `DECODED` of some images."""
    return images[:: max(1, len(images) // DECODED)][:DECODED]


def is_coloured(pixels: np.ndarray) -> bool:
    """Whether the channels of pixels, (H, W) or (H, W, C), differ anywhere."""
    return pixels.ndim == 3 and bool((pixels != pixels[..., :1]).any())
