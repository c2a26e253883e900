import io

import numpy as np
import pytest
from PIL import Image

from imssl.datasets.images import MOST_PIXELS, decode, to_square
from imssl.datasets.source import BadImage


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def random_pixels(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3)])
def test_eight_bit_pixels_come_out_as_they_are(shape):
    pixels = random_pixels(*shape)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels)), "x"), pixels)


def test_transparency_is_laid_over_black():
    pixels = random_pixels(6, 4, 4)
    expected = pixels[..., :3].astype(float) * pixels[..., 3:] / 255
    decoded = decode(encoded(Image.fromarray(pixels)), "x")
    assert decoded.shape == (6, 4, 3)
    assert np.abs(decoded - expected).max() <= 1
    opaque = pixels | np.array([0, 0, 0, 255], dtype=np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(opaque)), "x"), pixels[..., :3])


def test_grey_with_alpha_stays_grey():
    pixels = random_pixels(6, 4, 2)
    decoded = decode(encoded(Image.fromarray(pixels)), "x")
    assert decoded.shape == (6, 4)
    assert np.abs(decoded - pixels[..., 0].astype(float) * pixels[..., 1] / 255).max() <= 1


def test_a_palette_gives_its_colours():
    palette = random_pixels(256, 3)
    indices = random_pixels(6, 4)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    np.testing.assert_array_equal(decode(encoded(image), "x"), palette[indices])


def test_a_transparent_palette_entry_is_black():
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    image.putpalette([200, 10, 10, 10, 200, 10])
    decoded = decode(encoded(image, transparency=0), "x")
    np.testing.assert_array_equal(decoded, [[[0, 0, 0], [10, 200, 10]]])


def test_one_bit_becomes_black_and_white():
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    np.testing.assert_array_equal(decode(encoded(image), "x"), [[0, 255]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_full_range(kind):
    pixels = random_pixels(6, 4, dtype=np.uint16)
    pixels[0, :3] = 0, 257, 65535
    decoded = decode(encoded(Image.fromarray(pixels), kind), "x")
    np.testing.assert_array_equal(decoded, np.round(pixels / 257))
    assert decoded[0, :3].tolist() == [0, 1, 255]


def test_big_endian_and_thirty_two_bit_greys_are_the_same():
    pixels = random_pixels(6, 4, dtype=np.uint16)
    expected = np.round(pixels / 257)
    big_endian = Image.frombytes("I;16B", (4, 6), pixels.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode(encoded(big_endian, "TIFF"), "x"), expected)
    wide = Image.fromarray(pixels.astype(np.int32))
    assert wide.mode == "I"
    np.testing.assert_array_equal(decode(encoded(wide, "TIFF"), "x"), expected)


@pytest.mark.parametrize(("largest", "bits"), [(255, 8), (256, 12), (4095, 12), (4096, 16), (65535, 16)])
def test_greys_of_fewer_bits_fill_the_range(largest, bits):
    values = np.linspace(0, largest, 24).round().astype(np.uint16).reshape(4, 6)
    decoded = decode(encoded(Image.fromarray(values)), "x")
    np.testing.assert_array_equal(decoded, np.floor(values / (2**bits - 1) * 255 + 0.5))


def test_a_window_is_the_same_for_all_images():
    values = np.array([[0, 1000, 1500, 2000, 65535]], dtype=np.uint16)
    decoded = decode(encoded(Image.fromarray(values)), "x", window=(1000, 2000))
    assert decoded.tolist() == [[0, 0, 128, 255, 255]]


def test_values_beyond_sixteen_bits_and_floats_are_refused():
    for pixels in (np.full((2, 2), 70000, dtype=np.int32), np.full((2, 2), -1, dtype=np.int32)):
        with pytest.raises(BadImage, match="outside 16 bits"):
            decode(encoded(Image.fromarray(pixels), "TIFF"), "x")
    with pytest.raises(BadImage, match="floating-point"):
        decode(encoded(Image.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF"), "x")


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    decoded = decode(encoded(image, "TIFF"), "x")
    assert decoded.shape == (4, 4, 3)
    assert decoded[0, 0].tolist() == [255, 0, 0]


def test_every_truncation_is_a_bad_image():
    for kind in ("PNG", "JPEG"):
        content = encoded(Image.fromarray(random_pixels(20, 20, 3)), kind)
        for length in (0, 1, 10, len(content) // 2, len(content) - 20):
            with pytest.raises(BadImage) as raised:
                decode(content[:length], "a.png")
            assert raised.value.name == "a.png"
            assert "0x" not in raised.value.reason


@pytest.mark.filterwarnings("ignore:::PIL")
def test_damaged_bytes_give_pixels_or_a_bad_image_and_nothing_else():
    generator = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP"):
        content = np.frombuffer(encoded(Image.fromarray(random_pixels(20, 20)), kind), dtype=np.uint8)
        for _ in range(60):
            damaged = content.copy()
            damaged[generator.integers(0, len(content), 4)] = generator.integers(0, 256, 4)
            try:
                pixels = decode(damaged.tobytes(), "x")
            except BadImage:
                continue
            assert pixels.dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_the_usual_formats_are_read(kind):
    assert decode(encoded(Image.new("RGB", (5, 4), (200, 100, 0)), kind), "x").shape == (4, 5, 3)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PPM", "ICO", "PCX", "TGA", "PDF"])
def test_no_other_format_is_tried_whatever_the_name_says(kind, monkeypatch):
    # PostScript is a program: Pillow would start Ghostscript on it.
    monkeypatch.setattr("subprocess.Popen", lambda *args, **kwargs: pytest.fail("a program was started"))
    with pytest.raises(BadImage, match="unknown format; known are PNG, JPEG, TIFF, BMP, WEBP"):
        decode(encoded(Image.new("RGB", (20, 20)), kind), "picture.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_applied(kind, orientation):
    # A bright corner on dark ground, and where a viewer must show it (EXIF 2.32, tag 0x0112).
    stored = np.zeros((16, 32), dtype=np.uint8)
    stored[:8, :8] = 255
    turned = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.T,
        6: np.rot90(stored, -1), 7: np.rot90(stored, 2).T, 8: np.rot90(stored),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(Image.fromarray(stored), kind, exif=exif), "x")
    decoded = decoded if decoded.ndim == 2 else decoded[..., 0]
    assert decoded.shape == turned.shape
    assert np.abs(decoded.astype(int) - turned).mean() < 12


def test_damaged_exif_states_no_orientation():
    content = encoded(Image.fromarray(random_pixels(8, 8)), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(content, "x").shape == (8, 8)


def test_other_files_are_bad_images():
    with pytest.raises(BadImage, match="unknown format"):
        decode(b"<html>Sign in to download</html>", "x")


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    side = int(MOST_PIXELS**0.5) + 1
    with pytest.raises(BadImage, match="too many pixels"):
        decode(encoded(Image.new("1", (side, side))), "x")


@pytest.mark.parametrize("size", [(60_000, 1), (1, 1_000_000), (12_001, 10)])
def test_a_long_strip_is_refused_before_its_square_fills_memory(size):
    with pytest.raises(BadImage, match="has a side of more than 12,000 pixels"):
        decode(encoded(Image.new("L", size)), "x")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_larger_bomb_is_refused_by_pillow():
    with pytest.raises(BadImage, match="too many"):
        decode(encoded(Image.new("1", (20_000, 20_000))), "x")


@pytest.mark.parametrize(("height", "width"), [(50, 1), (1, 50), (50, 49), (7, 12)])
def test_padding_is_central_black_and_keeps_the_aspect_ratio(height, width):
    side = max(height, width)
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    square = to_square(pixels, side, 3)
    top, left = (side - height) // 2, (side - width) // 2
    expected = np.zeros((side, side, 3), dtype=np.uint8)
    expected[top : top + height, left : left + width] = 255
    np.testing.assert_array_equal(square, expected)


@pytest.mark.parametrize(("height", "width"), [(8, 13), (13, 8), (9, 12)])
def test_a_crop_keeps_the_middle(height, width):
    pixels = random_pixels(height, width, 3)
    side = min(height, width)
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    expected = pixels[top : top + side, left : left + side]
    np.testing.assert_array_equal(to_square(pixels, side, 3, "crop"), expected)


def test_stretching_keeps_all_pixels():
    pixels = np.repeat(np.repeat(random_pixels(4, 4), 8, axis=0), 16, axis=1)
    stretched = to_square(pixels, 64, 1, "stretch")[..., 0]
    expected = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(stretched, expected)
    assert np.abs(stretched[2::16, 2::16].astype(int) - pixels[1::8, 2::16]).max() < 60


def test_the_right_size_is_left_alone():
    pixels = random_pixels(8, 8, 3)
    np.testing.assert_array_equal(to_square(pixels, 8, 3), pixels)


def test_making_an_image_smaller_does_not_alias():
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(to_square(stripes, 16, 1)[:, 2:-2].astype(int) - 127.5).max() < 4


def test_making_an_image_larger_keeps_its_mean():
    pixels = random_pixels(16, 16)
    assert to_square(pixels, 48, 1).mean() == pytest.approx(pixels.mean(), abs=2)


def test_channels():
    grey, colour = random_pixels(8, 8), random_pixels(8, 8, 3)
    np.testing.assert_array_equal(to_square(grey, 8, 3), np.repeat(grey[..., None], 3, axis=2))
    luma = colour @ np.array([0.299, 0.587, 0.114])
    square = to_square(colour, 8, 1)
    assert square.shape == (8, 8, 1)
    assert np.abs(square[..., 0] - luma).max() <= 1
