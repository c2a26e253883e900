"""Pixels: image files decoded to 8 bits, and brought to squares of one size."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from imssl.datasets.files import Files, Window
from imssl.datasets.source import BadImage, RawSample
from imssl.errors import first_line

# The only formats that Pillow may try. It knows others that are programs, such as PostScript.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
Image.init()  # a format is tried by its name only if its plugin is loaded
# More than any source has (EyePACS: 18 million); a small file that claims more is a decompression bomb.
MOST_PIXELS = 80_000_000
# A narrow strip has few pixels, but its padded square (here at most 144 million) has many.
LONGEST_SIDE = 12_000
# Greys of 16 bits often hold numbers of fewer: the first of these depths that holds all is taken for theirs.
BIT_DEPTHS = (8, 12, 16)
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")

Fit = Literal["pad", "stretch", "crop"]


def reader(
    files: Files,
    names: Mapping[str, str],
    window: Window = None,
    copies: Mapping[str, Sequence[str]] | None = None,
) -> Callable[[RawSample], np.ndarray]:
    """A function that reads the pixels of a sample.

    Args:
        files: folder or archive.
        names: of the files in it, by sample id.
        window: see `decode`.
        copies: further files of samples, by sample id; their pixels must be those of the first.
    """
    copies = copies or {}

    def same_pixels(pixels: np.ndarray, copy: str) -> bool:
        return np.array_equal(pixels, decode(files.read(copy), copy, window))

    def read(sample: RawSample) -> np.ndarray:
        name = names[sample.id]
        pixels = decode(files.read(name), name, window)
        for copy in copies.get(sample.id, ()):
            if not (files.same_content(name, copy) or same_pixels(pixels, copy)):
                raise BadImage(name, f"there is a second file of it with other pixels: {copy}")
        return pixels

    return read


def decode(content: bytes, name: str, window: Window = None) -> np.ndarray:
    """Pixels of an image file.

    The orientation that EXIF states is applied. Transparent images are put on black. Of an animation, the
    first frame is taken.

    Greys of 16 bits are scaled by a window that does not depend on an image's own contrast, so that bright
    stays bright: by default the range of 12 bits where all values are below 4096, of 8 bits where they are
    below 256, otherwise of 16 bits (65535 becomes 255).

    Args:
        content: of a PNG, JPEG, TIFF, BMP or WebP.
        name: for the error.
        window: lowest and highest value of 16-bit greys, which become 0 and 255; values beyond are cut off.

    Returns:
        (H, W) for greys, (H, W, 3) for colours; uint8.

    Raises:
        BadImage: the file is empty, truncated, corrupt, no image, too large, or of no known pixel format.
    """
    if not content:
        raise BadImage(name, "the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_size(image.width, image.height, name)
            image.verify()  # compares checksums, which load() ignores; then the image must be opened again
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            pixels = _to_eight_bits(_upright(image), name, window)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(name, "has too many pixels for an image") from None
    except Exception as error:  # Pillow raises nearly every kind of error on a corrupt file
        raise BadImage(name, f"not a readable image ({_first_line(error)})") from None
    if 0 in pixels.shape:
        raise BadImage(name, "the image has no pixels")
    return pixels


def largest_grey(content: bytes, name: str) -> int | None:
    """The largest stored value of an image of 16-bit greys; None for any other image.

    Raises:
        BadImage: the file is no readable image.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_size(image.width, image.height, name)
            return int(np.asarray(image).max(initial=0)) if image.mode in SIXTEEN_BITS else None
    except BadImage:
        raise
    except Exception as error:
        raise BadImage(name, f"not a readable image ({_first_line(error)})") from None


def check_size(width: int, height: int, name: str) -> None:
    """Refuse an image whose pixels, or those of its padded square, would fill memory.

    Raises:
        BadImage: it has more than `MOST_PIXELS` pixels or a side longer than `LONGEST_SIDE`.
    """
    if width * height > MOST_PIXELS:
        raise BadImage(name, f"has too many pixels for an image: {width} x {height}")
    if max(width, height) > LONGEST_SIDE:
        raise BadImage(name, f"has a side of more than {LONGEST_SIDE:,} pixels: {width} x {height}")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata state no orientation, and the pixels are whole
        return image


def _first_line(error: Exception) -> str:
    # Pillow's message can contain the address of a buffer, which differs from run to run.
    text = first_line(error)
    unknown = f"unknown format; known are {', '.join(FORMATS)}"
    return unknown if "cannot identify image file" in text else text


def to_eight_bits(values: np.ndarray, window: Window = None) -> np.ndarray:
    """Greys of up to 16 bits, scaled to 8.

    Args:
        values: (H, W) integers from 0 to 65535.
        window: see `decode`.

    Returns:
        (H, W) uint8, rounded to nearest.
    """
    if window is None:
        largest = int(values.max(initial=0))
        low, high = 0, next(2**depth - 1 for depth in BIT_DEPTHS if largest < 2**depth)
    else:
        low, high = window
    shifted = np.clip(values.astype(np.int64), low, high) - low
    return ((2 * 255 * shifted + (high - low)) // (2 * (high - low))).astype(np.uint8)


def _to_eight_bits(image: Image.Image, name: str, window: Window) -> np.ndarray:
    if image.mode in SIXTEEN_BITS:
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise BadImage(name, "pixel values are outside 16 bits")
        return to_eight_bits(values, window)
    if image.mode == "F":
        raise BadImage(name, "floating-point pixels have no known range")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        opaque = Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque)
        return np.asarray(opaque.convert("L" if image.mode in ("L", "LA", "La", "1") else "RGB"))
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def to_square(pixels: np.ndarray, size: int, channels: Literal[1, 3], fit: Fit = "pad") -> np.ndarray:
    """Bring an image to a square and resize it.

    Resizing is bicubic; Pillow widens the filter when it makes an image smaller, which prevents aliasing.

    Args:
        pixels: (H, W) or (H, W, 3) uint8, not empty.
        size: side of the square.
        channels: 1 turns colours into luma (ITU-R 601), 3 repeats greys.
        fit: ``pad`` adds black on both sides and keeps the aspect ratio, ``crop`` keeps it and cuts off both
            ends of the longer side, ``stretch`` keeps all pixels and changes the aspect ratio.

    Returns:
        (size, size, channels) uint8.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert("L" if channels == 1 else "RGB")
    if image.width != image.height and fit != "stretch":
        side = max(image.size) if fit == "pad" else min(image.size)
        left, top = (side - image.width) // 2, (side - image.height) // 2
        square = Image.new(image.mode, (side, side))
        square.paste(image, (left, top))
        image = square
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(image).reshape(size, size, channels)
