"""Centred kernel alignment: how alike two sets of features of the same images are.

CKA (Kornblith et al. 2019) is a correlation of centred Gram matrices. The usual estimate grows towards 1 with
the number of features even for independent ones, so by default the Gram matrices are centred such that the
estimate of HSIC is unbiased (Song et al. 2012, eq. 5; used for CKA by Nguyen et al. 2021), and a permutation
null says what unrelated features of the same shape would give.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kernel = Literal["linear", "rbf"]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class PermutationNull:
    """CKA of two sets of features against its values with the rows of one of them permuted.

    Attributes:
        observed: CKA of the rows as they are.
        mean: mean of the permuted values.
        percentile_95: 95th percentile of the permuted values.
        p_value: (1 + permuted values >= observed) / (1 + permutations).
        permutations: number of permutations.
    """

    observed: float
    mean: float
    percentile_95: float
    p_value: float
    permutations: int


def cka(
    x: ArrayLike, y: ArrayLike, kernel: Kernel = "linear", debiased: bool = True, bandwidth: float = 1.0
) -> float:
    """Centred kernel alignment of two sets of features.

    The linear kernel works in whichever of feature space and sample space is the cheaper, and the RBF kernel
    on (N, N) matrices of float64, so the caller chooses N.

    Args:
        x: (N, D1) features, rows in the same order as those of y.
        y: (N, D2) features.
        kernel: "linear", or "rbf": exp(-d^2 / (2 s^2)) with s^2 the bandwidth squared times the
            median squared distance.
        debiased: unbiased HSIC (N >= 4) instead of the biased one (N >= 2).
        bandwidth: multiple of the root of the median squared distance, > 0; the linear kernel has none.

    Returns:
        1 for features equal up to rotation and scale, about 0 for independent features (debiased, where it
        may also fall below 0).

    Raises:
        ValueError: shapes that do not fit, values that are not finite, too few rows, or features for which
            CKA is undefined because they do not vary.
    """
    alignment, _ = _alignment(x, y, kernel, debiased, bandwidth)
    return alignment(None)


def permutation_null(
    x: ArrayLike,
    y: ArrayLike,
    permutations: int,
    generator: np.random.Generator,
    kernel: Kernel = "linear",
    debiased: bool = True,
    bandwidth: float = 1.0,
) -> PermutationNull:
    """CKA beside its distribution when the rows of y are permuted, that is when nothing is shared.

    Gram matrices and norms are computed once; each permutation only reorders them.

    Args:
        x: (N, D1) features, rows in the same order as those of y.
        y: (N, D2) features.
        permutations: number of permutations, at least 1.
        generator: source of the permutations.
        kernel: as for `cka`.
        debiased: as for `cka`.
        bandwidth: as for `cka`.

    Raises:
        ValueError: as for `cka`, or fewer than one permutation.
    """
    if permutations < 1:
        raise ValueError(f"permutations: expected at least 1, got {permutations}")
    alignment, rows = _alignment(x, y, kernel, debiased, bandwidth)
    observed = alignment(None)
    null = np.array([alignment(generator.permutation(rows)) for _ in range(permutations)])
    return PermutationNull(
        observed=observed,
        mean=float(null.mean()),
        percentile_95=float(np.quantile(null, 0.95)),
        p_value=float((1 + (null >= observed).sum()) / (1 + permutations)),
        permutations=permutations,
    )


def _alignment(
    x: ArrayLike, y: ArrayLike, kernel: Kernel, debiased: bool, bandwidth: float
) -> tuple[Callable[[NDArray[np.int64] | None], float], int]:
    """CKA as a function of a permutation of the rows of y (None: as they are), and the number of rows."""
    a, b = centred_features("x", x), centred_features("y", y)
    rows = len(a)
    if len(b) != rows:
        raise ValueError(f"x and y must describe the same images, got {rows} and {len(b)} rows")
    if rows < (4 if debiased else 2):
        raise ValueError(f"{'debiased' if debiased else 'biased'} CKA of {rows} rows is undefined")
    if kernel == "linear" and rows >= a.shape[1] + b.shape[1]:
        return _feature_alignment(a, b, debiased), rows
    return _gram_alignment(gram(a, kernel, bandwidth), gram(b, kernel, bandwidth), debiased), rows


def gram(features: Array, kernel: Kernel, bandwidth: float) -> Array:
    """Gram matrix (N, N) of centred features (N, D)."""
    if kernel == "linear":
        return features @ features.T
    if kernel == "rbf":
        return _rbf_gram(features, bandwidth)
    raise ValueError(f"unknown kernel {kernel!r}: linear or rbf")


def centred_features(name: str, features: ArrayLike) -> Array:
    """Features with zero column means, scaled to a mean squared row length of 1; CKA changes with neither."""
    centred = np.array(features, dtype=np.float64)
    if centred.ndim != 2 or 0 in centred.shape:
        raise ValueError(f"{name}: expected features of shape (N, D), got {centred.shape}")
    if not np.isfinite(centred).all():
        raise ValueError(f"{name}: holds NaN or infinite values")
    if not np.ptp(centred, axis=0).any():
        raise ValueError(f"{name}: CKA is undefined for constant features (has the encoder collapsed?)")
    # Two steps, so that the squares of very small or very large features stay in range.
    centred -= centred.mean(axis=0)
    centred /= max(centred.max(), -centred.min())
    centred *= np.sqrt(len(centred)) / np.linalg.norm(centred)
    return centred


def _feature_alignment(x: Array, y: Array, debiased: bool) -> Callable[[NDArray[np.int64] | None], float]:
    """Linear CKA without an (N, N) matrix.

    With centred features the rows of K = XX' sum to 0, and HSIC_1 of Song et al. (2012, eq. 5) becomes, up
    to a factor, |X'Y|^2 - n/(n-2) k.l + sum(k) sum(l) / ((n-1)(n-2)), k and l the diagonals of K and L.
    """
    n = len(x)
    x_lengths, y_lengths = np.einsum("nd,nd->n", x, x), np.einsum("nd,nd->n", y, y)

    def hsic(a: Array, a_lengths: Array, b: Array, b_lengths: Array) -> float:
        cross = a.T @ b
        biased = float(np.vdot(cross, cross))
        if not debiased:
            return biased
        diagonal = n / (n - 2) * float(a_lengths @ b_lengths)
        return biased - diagonal + float(a_lengths.sum() * b_lengths.sum()) / ((n - 1) * (n - 2))

    scale = _scale(hsic(x, x_lengths, x, x_lengths), hsic(y, y_lengths, y, y_lengths), rounding=1e-14 * n**2)

    def alignment(order: NDArray[np.int64] | None) -> float:
        if order is None:
            return hsic(x, x_lengths, y, y_lengths) / scale
        return hsic(x, x_lengths, y[order], y_lengths[order]) / scale

    return alignment


def _gram_alignment(k: Array, l: Array, debiased: bool) -> Callable[[NDArray[np.int64] | None], float]:  # noqa: E741
    """CKA of two (N, N) Gram matrices: the cosine between them once centred."""
    centre = _centre_unbiased if debiased else _centre
    centre(k)
    centre(l)
    scale = _scale(float(np.vdot(k, k)), float(np.vdot(l, l)), rounding=1e-20)

    def alignment(order: NDArray[np.int64] | None) -> float:
        return float(np.vdot(k, l if order is None else l.take(order, axis=0).take(order, axis=1))) / scale

    return alignment


def _centre(gram: Array) -> None:
    """HKH, in place: rows and columns sum to 0."""
    means = gram.mean(axis=0)
    gram -= means
    gram -= (means - means.mean())[:, None]


def _centre_unbiased(gram: Array) -> None:
    """U-centring, in place: the inner product of two results is n(n-3) times the unbiased HSIC.

    Székely & Rizzo (2014, definition 2), equal to eq. 5 of Song et al. (2012).
    """
    n = len(gram)
    np.fill_diagonal(gram, 0.0)
    sums = gram.sum(axis=0) / (n - 2)
    gram -= sums
    gram -= (sums - sums.sum() / (n - 1))[:, None]
    np.fill_diagonal(gram, 0.0)


def _rbf_gram(x: Array, bandwidth: float) -> Array:
    """exp(-d^2 / (2 bandwidth^2 median(d^2))), the median over distinct pairs of rows."""
    if not bandwidth > 0:
        raise ValueError(f"bandwidth: expected a number above 0, got {bandwidth}")
    lengths = np.einsum("nd,nd->n", x, x)
    squares = x @ x.T
    squares *= -2
    squares += lengths
    squares += lengths[:, None]
    np.maximum(squares, 0, out=squares)
    median = np.median(squares[np.triu_indices(len(x), k=1)])
    if median < 1e-12:
        raise ValueError(
            "RBF CKA is undefined: over half of the pairs of rows are equal, so the bandwidth is 0"
        )
    np.fill_diagonal(squares, 0.0)
    squares /= -2 * bandwidth**2 * median
    return np.exp(squares, out=squares)


def _scale(self_x: float, self_y: float, rounding: float) -> float:
    if not (self_x > rounding and self_y > rounding):
        raise ValueError("CKA is undefined: a set of features has no variation left once centred")
    return float(np.sqrt(self_x) * np.sqrt(self_y))


KERNELS: tuple[Kernel, ...] = ("linear", "rbf")
