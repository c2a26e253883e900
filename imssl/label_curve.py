"""Read off a curve of a metric over labels: the area below it, and the labels at which it reaches a value."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def log_area(labels: ArrayLike, means: Array) -> Array:
    """Area under curves over the logarithm of labels (trapezoidal rule), over the width of the axis.

    Args:
        labels: (F,) ascending, shares or numbers.
        means: (F, R) one curve per column.

    Returns:
        (R,) areas; with one point the curve itself.
    """
    axis = np.log(np.asarray(labels, dtype=float))
    return np.trapezoid(means, axis, axis=0) / (axis[-1] - axis[0]) if axis.size > 1 else means[0]


def labels_to_reach(labels: ArrayLike, means: Array, target: Array) -> Array:
    """Fewest labels at which curves reach their targets, linear between points on the log axis.

    Args:
        labels: (F,) ascending, shares or numbers.
        means: (F, R) one curve per column.
        target: (R,).

    Returns:
        (R,) labels; the first point where it suffices already; NaN where none does.
    """
    points = np.asarray(labels, dtype=float)
    above = means >= target
    # The first point above, and the one before it.
    end = above.argmax(axis=0)
    start = np.maximum(end - 1, 0)
    curve = np.arange(means.shape[1])
    low, high = means[start, curve], means[end, curve]
    rise = np.where(high > low, high - low, 1.0)
    part = np.where(end > 0, (target - low) / rise, 0.0)
    crossing = points[start] * (points[end] / points[start]) ** part
    return np.where(above.any(axis=0), crossing, np.nan)
