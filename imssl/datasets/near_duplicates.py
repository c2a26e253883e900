"""Near-identical images: found by a perceptual hash, confirmed by their pixels.

A difference hash (dHash: which of two neighbouring cells of a coarse grey grid is the brighter) survives
recompression, a change of brightness or contrast and a slight change of size. Radiographs are all alike on a
coarse grid, so equal hashes only nominate a pair; the correlation of the pixels decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID = 8  # 8 x 8 comparisons to the right and as many downwards: 128 bits
BANDS = 8  # of 16 bits; two hashes that differ in fewer bits than there are bands share a band
MAX_DISTANCE = BANDS - 1
# No more is ever required: a copy at JPEG quality 90 of a radiograph or fundus image has this correlation.
ENOUGH_CORRELATION = 0.995
# Standard deviations above the mean of random pairs, on Fisher's z scale; of normal values, one in 10^9.
DEVIATIONS = 6.0
RANDOM_PAIRS = 4000
# Images and pairs in memory at a time.
CHUNK = 1024

_ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of images that are near-identical.

    Attributes:
        pairs: (P, 2) int64 rows, the smaller first, in ascending order.
        distances: (P,) int64, bits in which the hashes differ, 0 to 128.
        correlations: (P,) float64, of the pixels, all channels together.
    """

    pairs: NDArray[np.int64]
    distances: NDArray[np.int64]
    correlations: NDArray[np.float64]


def near_duplicates(
    images: NDArray[np.uint8],
    max_distance: int = MAX_DISTANCE,
    min_correlation: float | None = None,
) -> NearDuplicates:
    """All pairs of near-identical images.

    Memory grows with the number of images and of nominated pairs in a band, never with the number of all
    pairs. An image without any variation has no correlation and is compared for equality.

    Args:
        images: (N, H, W, C) uint8; it may be memory-mapped.
        max_distance: bits in which two hashes may differ, 0 to 7.
        min_correlation: of the pixels, all channels together, in [-1, 1]; None for `unusual_correlation`.

    Raises:
        ValueError: an argument is out of range.
    """
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise ValueError(f"max_distance: expected 0 to {MAX_DISTANCE}, got {max_distance}")
    if min_correlation is None:
        min_correlation = unusual_correlation(images)
    hashes = difference_hashes(images)
    rows, distances, correlations = [], [], []
    for pairs, distance in similar_hashes(hashes, max_distance):
        correlation = _correlations(images, pairs)
        near = correlation >= min_correlation
        rows.append(pairs[near])
        distances.append(distance[near])
        correlations.append(correlation[near])
    all_pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *rows])
    # A pair that shares two bands is found in both of them.
    pairs, first = np.unique(all_pairs, axis=0, return_index=True)
    return NearDuplicates(
        pairs=pairs,
        distances=np.concatenate([np.empty(0, dtype=np.int64), *distances])[first],
        correlations=np.concatenate([np.empty(0), *correlations])[first],
    )


def unusual_correlation(images: NDArray[np.uint8]) -> float:
    """The correlation from which a pair of these images is unlike any pair drawn at random, at most 0.995.

    Fundus images correlate up to 0.9, images of stained tissue hardly 0.3, so no single number fits both.

    Args:
        images: (N, H, W, C) uint8.
    """
    pairs = np.random.default_rng(0).integers(0, len(images), (RANDOM_PAIRS, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    if len(pairs) < 2:
        return ENOUGH_CORRELATION
    bound = 1 - 1e-9  # for copies that happen to be drawn, whose z would be infinite
    fisher_z = np.arctanh(np.clip(_correlations(images, pairs), -bound, bound))
    return min(ENOUGH_CORRELATION, float(np.tanh(fisher_z.mean() + DEVIATIONS * fisher_z.std())))


def difference_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The hash of each image, (N, 16) uint8 of packed bits: 64 comparisons to the right, 64 downwards."""
    hashes = np.empty((len(images), 2 * GRID * GRID // 8), dtype=np.uint8)
    for start in range(0, len(images), CHUNK):
        grey = _grey(images[start : start + CHUNK])
        right = _cells(grey, GRID, GRID + 1)
        down = _cells(grey, GRID + 1, GRID)
        bits = np.concatenate(
            [
                (right[:, :, 1:] > right[:, :, :-1]).reshape(len(grey), -1),
                (down[:, 1:] > down[:, :-1]).reshape(len(grey), -1),
            ],
            axis=1,
        )
        hashes[start : start + CHUNK] = np.packbits(bits, axis=1)
    return hashes


def similar_hashes(
    hashes: NDArray[np.uint8], max_distance: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of hashes that differ in few bits, a chunk at a time; a pair may come more than once.

    Hashes that differ in at most 7 bits agree in one of 8 bands (pigeonhole; Norouzi et al. 2012, section 3),
    so only those that share a band are compared: sorted by the band, they are neighbours.

    Args:
        hashes: (N, 16) uint8.
        max_distance: bits, 0 to 7.

    Yields:
        (P, 2) int64 rows, the smaller first, and (P,) int64 distances.
    """
    bands = np.ascontiguousarray(hashes).view(np.uint16)
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        in_order = band[order]
        ends = np.searchsorted(in_order, in_order, side="right")
        # following[i]: how many of the entries after entry i share its band.
        following = ends - np.arange(len(order)) - 1
        starts = np.arange(len(order))
        offset = 0
        while (starts := starts[following[starts] > offset]).size:
            offset += 1
            for first in range(0, starts.size, CHUNK * 64):
                part = starts[first : first + CHUNK * 64]
                pairs = np.stack([order[part], order[part + offset]], axis=1)
                distance = _ONES[hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]].sum(axis=1, dtype=np.int64)
                near = distance <= max_distance
                if near.any():
                    yield np.sort(pairs[near], axis=1), distance[near]


def groups_of(pairs: NDArray[np.int64]) -> list[list[int]]:
    """Groups of rows that are connected by pairs: each group ascending, the groups by their first row."""
    parent: dict[int, int] = {}  # a union-find forest, in which the smallest row of a group is its root

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in pairs.tolist():
        smaller, larger = sorted((root(a), root(b)))
        parent[larger] = smaller
    groups: dict[int, list[int]] = {}
    for row in sorted(parent):
        groups.setdefault(root(row), []).append(row)
    return list(groups.values())


def _grey(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, C) uint8 to the mean over the channels, (N, H, W) float32."""
    grey: NDArray[np.float32] = images.mean(axis=3, dtype=np.float32)
    return grey


def _cells(grey: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Mean brightness over a coarse grid, (N, rows, columns); cells of a small image may share pixels."""
    _, height, width = grey.shape
    down, across = _borders(height, rows), _borders(width, columns)
    # Integral images make the mean of a cell four look-ups, whatever its size.
    total = np.zeros((len(grey), height + 1, width + 1))
    np.cumsum(np.cumsum(grey, axis=1, dtype=np.float64), axis=2, out=total[:, 1:, 1:])
    by_rows = total[:, down[:, 1]] - total[:, down[:, 0]]
    sums = by_rows[:, :, across[:, 1]] - by_rows[:, :, across[:, 0]]
    sizes = np.outer(down[:, 1] - down[:, 0], across[:, 1] - across[:, 0])
    return (sums / sizes).astype(np.float32)


def _borders(length: int, parts: int) -> NDArray[np.int64]:
    """(parts, 2): the first pixel of each part and the one after its last; no part is empty."""
    first = np.arange(parts) * length // parts
    last = np.maximum(-(-(np.arange(parts) + 1) * length // parts), first + 1)
    return np.stack([first, last], axis=1)


def _correlations(images: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """(P,) Pearson correlations of the pixels; for constant images 1 if they are equal, otherwise 0."""
    values = np.empty(len(pairs))
    for start in range(0, len(pairs), CHUNK):
        part = pairs[start : start + CHUNK]
        a, b = (images[part[:, side]].reshape(len(part), -1).astype(np.float64) for side in (0, 1))
        equal = (a == b).all(axis=1)
        a -= a.mean(axis=1, keepdims=True)
        b -= b.mean(axis=1, keepdims=True)
        scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        products = np.einsum("pd,pd->p", a, b)
        correlation = np.divide(products, scale, out=np.zeros(len(part)), where=scale > 0)
        values[start : start + CHUNK] = np.where(equal, 1.0, correlation)
    return values
