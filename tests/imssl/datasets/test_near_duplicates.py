import io
import itertools
import resource

import numpy as np
import pytest
from PIL import Image

from imssl.datasets.near_duplicates import (
    difference_hashes,
    groups_of,
    near_duplicates,
    similar_hashes,
    unusual_correlation,
)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """40 unlike pictures of 64 pixels: smooth shapes of a tint with a little texture, (40, 64, 64, 3)."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(40):
        coarse = Image.fromarray(generator.integers(40, 220, (6, 6), dtype=np.uint8))
        shapes = np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC)).astype(float)
        textured = shapes + generator.normal(0, 3, shapes.shape)
        made.append(np.clip(textured[:, :, None] * generator.uniform(0.7, 1.0, 3), 0, 255))
    return np.array(made).astype(np.uint8)


def recompressed(picture: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=75)
    return np.asarray(Image.open(stream))


CHANGES = {
    "equal": lambda picture: picture,
    "recompressed as JPEG": recompressed,
    "brighter": lambda picture: np.clip(picture.astype(int) + 25, 0, 255).astype(np.uint8),
    "darker": lambda picture: np.clip(picture.astype(int) - 15, 0, 255).astype(np.uint8),
    "of less contrast": lambda picture: (picture * 0.8 + 20).astype(np.uint8),
    "brighter and recompressed": lambda picture: recompressed(
        np.clip(picture + 20.0, 0, 255).astype(np.uint8)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(pictures, change):
    copies = np.array([CHANGES[change](picture) for picture in pictures[:10]])
    duplicates = near_duplicates(np.concatenate([pictures, copies]))
    assert duplicates.pairs.tolist() == [[row, 40 + row] for row in range(10)]
    assert (duplicates.correlations >= 0.97).all()


def test_unlike_pictures_and_mirrored_ones_are_no_copies(pictures):
    assert near_duplicates(np.concatenate([pictures, pictures[:, :, ::-1]])).pairs.shape == (0, 2)


def test_correlations_equal_numpy(pictures):
    copies = np.array([recompressed(picture) for picture in pictures[:4]])
    duplicates = near_duplicates(np.concatenate([pictures, copies]), min_correlation=-1)
    for (a, b), correlation in zip(duplicates.pairs, duplicates.correlations, strict=True):
        first, second = (np.concatenate([pictures, copies])[row].ravel().astype(float) for row in (a, b))
        assert correlation == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-12)


@pytest.mark.parametrize("size", [1, 3, 8, 9, 28])
def test_the_hash_compares_means_of_cells(size):
    image = np.random.default_rng(size).integers(0, 256, (1, size, size, 1), dtype=np.uint8)
    bits = np.unpackbits(difference_hashes(image)[0]).reshape(2, 64)

    def mean(row: int, column: int, rows: int, columns: int) -> float:
        top, bottom = row * size // rows, max(-(-(row + 1) * size // rows), row * size // rows + 1)
        left = column * size // columns
        right = max(-(-(column + 1) * size // columns), left + 1)
        return float(np.float32(image[0, top:bottom, left:right, 0].mean()))

    for row, column in itertools.product(range(8), range(8)):
        assert bits[0, 8 * row + column] == (mean(row, column + 1, 8, 9) > mean(row, column, 8, 9))
        assert bits[1, 8 * row + column] == (mean(row + 1, column, 9, 8) > mean(row, column, 9, 8))


@pytest.mark.parametrize("max_distance", [0, 3, 7])
def test_similar_hashes_are_those_of_all_pairs(max_distance):
    generator = np.random.default_rng(1)
    hashes = generator.integers(0, 256, (300, 16), dtype=np.uint8)
    for row in range(150):  # copies with up to 12 bits turned
        bits = np.unpackbits(hashes[row])
        bits[generator.choice(128, row % 13, replace=False)] ^= 1
        hashes[150 + row] = np.packbits(bits)
    duplicates = {
        (int(a), int(b)): int(distance)
        for pairs, distances in similar_hashes(hashes, max_distance)
        for (a, b), distance in zip(pairs, distances, strict=True)
    }
    bits = np.unpackbits(hashes, axis=1).astype(int)
    expected = {}
    for a, b in itertools.combinations(range(300), 2):
        distance = int(np.abs(bits[a] - bits[b]).sum())
        if distance <= max_distance:
            expected[a, b] = distance
    assert duplicates == expected
    assert len(expected) >= 11


def test_a_hundred_thousand_hashes_need_no_matrix_of_pairs():
    hashes = np.random.default_rng(2).integers(0, 256, (100_000, 16), dtype=np.uint8)
    hashes[-3:] = hashes[:3]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    duplicates = [pair for pairs, _ in similar_hashes(hashes, 7) for pair in pairs.tolist()]
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert set(map(tuple, duplicates)) == {(row, 99_997 + row) for row in range(3)}
    assert grown_mib < 500  # one bit for each of all pairs would be 600


def test_constant_images_are_compared_for_equality():
    images = np.stack([np.full((16, 16, 1), value, dtype=np.uint8) for value in (0, 7, 0, 255)])
    assert near_duplicates(images).pairs.tolist() == [[0, 2]]


def test_groups_are_connected_pairs():
    pairs = np.array([[4, 9], [1, 2], [2, 7], [5, 9]])
    assert groups_of(pairs) == [[1, 2, 7], [4, 5, 9]]
    assert groups_of(np.empty((0, 2), dtype=np.int64)) == []


def test_a_distance_beyond_the_bands_is_refused(pictures):
    with pytest.raises(ValueError, match="max_distance: expected 0 to 7, got 8"):
        near_duplicates(pictures, max_distance=8)


def test_the_unusual_correlation_is_far_above_that_of_random_pairs(pictures):
    threshold = unusual_correlation(pictures)
    pairs = itertools.combinations(range(40), 2)
    z = [np.arctanh(np.corrcoef(pictures[a].ravel(), pictures[b].ravel())[0, 1]) for a, b in pairs]
    assert np.arctanh(threshold) == pytest.approx(np.mean(z) + 6 * np.std(z), rel=0.05)
    alike = (pictures // 32 + pictures[0] // 8 * 7).astype(np.uint8)
    assert unusual_correlation(alike) == 0.995
    assert unusual_correlation(pictures[:1]) == 0.995
