"""What labels are worth: the area under metric against label fraction, and the labels a method saves."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bench.summary.bootstrap import percentile_interval
from bench.summary.draws import ComparisonDraws

LABEL_EFFICIENCY: dict[str, str] = {
    "dataset": "id of the data set",
    "evaluation": "finetune or frozen",
    "metric": "the data set's primary metric",
    "method": "id of the method",
    "area": "area under the metric against the logarithm of the label fraction, over the width of the axis: "
    "a mean of the metric; NaN where a fraction has no result",
    "area_low": "lower end of its bootstrap interval, over test patients, seeds taken as given",
    "area_high": "upper end",
    "target": "mean of the untrained method with all labels, which is to be matched",
    "labels_needed": "smallest share of the labels at which the target is reached, interpolated on the log "
    "axis; NaN if it is not",
    "labels_saved": "1 - labels_needed",
    "images_saved": "labelled training images that need not be labelled, rounded; NA if not reached",
    "reached_share": "share of the resamples of test patients in which the target is reached",
    "reached": "'yes', 'at the smallest' (the smallest fraction does already), 'not reached', or '' where a "
    "result is missing",
    "reason": "what is missing; empty otherwise",
}


def label_efficiency(
    columns: Iterable[ComparisonDraws],
    methods: Sequence[str],
    untrained: str | None,
    training_images: dict[str, int],
    level: float,
) -> pd.DataFrame:
    """Label efficiency of every method on every data set, for fine-tuning and for the frozen encoder.

    Args:
        columns: of the leaderboard.
        methods: of the protocol.
        untrained: the method without pretraining; None if the protocol has none.
        training_images: by data set.
        level: nominal coverage of the intervals.

    Returns:
        Columns as in LABEL_EFFICIENCY, one row per data set, evaluation and method.
    """
    curves: dict[tuple[str, str], list[ComparisonDraws]] = {}
    for column in columns:
        if column.place.fraction is not None:
            curves.setdefault((column.place.dataset, column.place.evaluation), []).append(column)
    rows = []
    for (dataset, _), curve in curves.items():
        ascending = sorted(curve, key=lambda column: column.place.fraction or 0)
        rows += [
            _row(ascending, method, untrained, training_images.get(dataset), level) for method in methods
        ]
    table = pd.DataFrame(rows, columns=list(LABEL_EFFICIENCY))
    return table.astype({"images_saved": "Int64"})


def log_area(fractions: ArrayLike, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under curves over log fraction by the trapezoidal rule, divided by the width of the axis.

    Args:
        fractions: (F,) ascending.
        means: (F, R) one curve per column.

    Returns:
        (R,) areas; with one fraction the curve itself.
    """
    axis = np.log(np.asarray(fractions, dtype=float))
    return np.trapezoid(means, axis, axis=0) / (axis[-1] - axis[0]) if axis.size > 1 else means[0]


def labels_to_reach(
    fractions: ArrayLike, means: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Smallest fraction at which curves reach their targets, linear between fractions on the log axis.

    Args:
        fractions: (F,) ascending.
        means: (F, R) one curve per column.
        target: (R,).

    Returns:
        (R,) fractions; the first one where it suffices already; NaN where none does.
    """
    shares = np.asarray(fractions, dtype=float)
    above = means >= target
    # The first point above, and the one before it.
    end = above.argmax(axis=0)
    start = np.maximum(end - 1, 0)
    curve = np.arange(means.shape[1])
    low, high = means[start, curve], means[end, curve]
    rise = np.where(high > low, high - low, 1.0)
    part = np.where(end > 0, (target - low) / rise, 0.0)
    crossing = shares[start] * (shares[end] / shares[start]) ** part
    return np.where(above.any(axis=0), crossing, np.nan)


def _row(
    curve: list[ComparisonDraws], method: str, untrained: str | None, images: int | None, level: float
) -> dict[str, Any]:
    first = curve[0]
    row: dict[str, Any] = dict.fromkeys(LABEL_EFFICIENCY, math.nan)
    row |= {"dataset": first.place.dataset, "evaluation": first.place.evaluation, "metric": first.metric}
    row |= {"method": method, "reached": "", "images_saved": pd.NA, "reason": _missing(curve, method)}
    if row["reason"]:
        return row
    fractions = [column.place.fraction or 0 for column in curve]
    means, draws = _curve(curve, method)
    low, high = percentile_interval(log_area(fractions, draws), level)
    row |= {"area": float(log_area(fractions, means)[0])}
    row |= {"area_low": math.nan if low is None else low, "area_high": math.nan if high is None else high}
    if untrained is None or curve[-1].row(untrained) is None:
        who = untrained or "a method without pretraining"
        return row | {"reason": f"no result of {who} with all labels to compare with"}
    target, target_draws = (values[0] for values in _curve(curve[-1:], untrained))
    needed = float(labels_to_reach(fractions, means, target)[0])
    defined = ~(np.isnan(draws).any(axis=0) | np.isnan(target_draws))
    reached = ~np.isnan(labels_to_reach(fractions, draws[:, defined], target_draws[defined]))
    row |= {"target": float(target[0]), "reached_share": reached.mean() if reached.size else math.nan}
    if math.isnan(needed):
        return row | {"reached": "not reached"}
    return row | {
        "labels_needed": needed,
        "labels_saved": 1 - needed,
        "images_saved": pd.NA if images is None else round((1 - needed) * images),
        "reached": "at the smallest" if needed <= fractions[0] else "yes",
    }


def _missing(curve: list[ComparisonDraws], method: str) -> str:
    holes = [
        f"{column.place.fraction:g} of the labels: {column.excluded[method]}"
        for column in curve
        if method in column.excluded
    ]
    return "; ".join(holes)


def _curve(curve: list[ComparisonDraws], method: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means over seeds of a method: (F, 1) on all test samples, (F, R) on the resamples."""
    rows = [(column, column.methods.index(method)) for column in curve]
    means = np.stack([column.values[row].mean(keepdims=True) for column, row in rows])
    return means, np.stack([column.mean_draws[row] for column, row in rows])
