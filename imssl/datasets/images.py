"""Pixels: image files decoded to 8 bits, and brought to squares of one size."""

import io
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from PIL import Image

from imssl.datasets.files import Files
from imssl.datasets.source import BadImage, RawSample

# More than any source has (EyePACS: 18 million); a small file that claims more is a decompression bomb.
MOST_PIXELS = 80_000_000
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def reader(files: Files, names: Mapping[str, str]) -> Callable[[RawSample], np.ndarray]:
    """A function that reads the pixels of a sample.

    Args:
        files: folder or archive.
        names: of the files in it, by sample id.
    """

    def read(sample: RawSample) -> np.ndarray:
        name = names[sample.id]
        return decode(files.read(name), name)

    return read


def decode(content: bytes, name: str) -> np.ndarray:
    """Pixels of an image file.

    Transparent images are put on black. 16-bit greys are scaled by their full range (65535 becomes 255), not
    by the range that an image happens to have. Of an animation, the first frame is taken.

    Args:
        content: of a PNG, JPEG, TIFF or any other format that Pillow reads.
        name: for the error.

    Returns:
        (H, W) for greys, (H, W, 3) for colours; uint8.

    Raises:
        BadImage: the file is empty, truncated, corrupt, no image, too large, or of no known pixel format.
    """
    if not content:
        raise BadImage(name, "the file is empty")
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.verify()  # compares checksums, which load() ignores; then the image must be opened again
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadImage(name, f"{image.width} x {image.height} pixels are too many for an image")
            image.load()
            pixels = _to_eight_bits(image, name)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(name, "too many pixels for an image") from None
    except Exception as error:  # Pillow raises nearly every kind of error on a corrupt file
        raise BadImage(name, f"not a readable image ({_first_line(error)})") from None
    if 0 in pixels.shape:
        raise BadImage(name, "the image has no pixels")
    return pixels


def _first_line(error: Exception) -> str:
    # Pillow's message can contain the address of a buffer, which differs from run to run.
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "unknown format" if "cannot identify image file" in text else text


def _to_eight_bits(image: Image.Image, name: str) -> np.ndarray:
    if image.mode in SIXTEEN_BITS:
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise BadImage(name, "pixel values are outside 16 bits")
        return ((values + 128) // 257).astype(np.uint8)
    if image.mode == "F":
        raise BadImage(name, "floating-point pixels have no known range")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        opaque = Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque)
        return np.asarray(opaque.convert("L" if image.mode in ("L", "LA", "La", "1") else "RGB"))
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def to_square(pixels: np.ndarray, size: int, channels: Literal[1, 3]) -> np.ndarray:
    """Pad to a square with black on both sides, keeping the aspect ratio, and resize.

    Resizing is bicubic; Pillow widens the filter when it makes an image smaller, which prevents aliasing.

    Args:
        pixels: (H, W) or (H, W, 3) uint8, not empty.
        size: side of the square.
        channels: 1 turns colours into luma (ITU-R 601), 3 repeats greys.

    Returns:
        (size, size, channels) uint8.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert("L" if channels == 1 else "RGB")
    if image.width != image.height:
        side = max(image.size)
        square = Image.new(image.mode, (side, side))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = square
    if image.width != size:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(image).reshape(size, size, channels)
