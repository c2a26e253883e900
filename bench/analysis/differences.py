"""Paired comparison of every method with the baseline: same test samples, same seeds, same resamples."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bench.summary.draws import ComparisonDraws
from bench.summary.paired_effect import PairedEffect, paired_effect

DIFFERENCES: dict[str, str] = {
    "dataset": "id of the data set",
    "evaluation": "finetune, frozen or probe",
    "fraction": "share of the labels; NaN for probe",
    "block": "of the encoder, 1 to 4; NA but for probe",
    "metric": "the data set's primary metric",
    "method": "id of the method",
    "baseline": "id of the method it is compared with",
    "effect": "mean over seeds of method minus baseline; NaN where a result is missing",
    "low": "lower end of its interval at the protocol's level, over patients and seeds, not corrected",
    "high": "upper end",
    "p": "two-sided p-value of no difference, not corrected",
    "p_holm": "the same, Holm-corrected over all rows of the same evaluation that have one",
    "distinguishable": "whether p_holm is below 1 - level",
    "patient_error": "standard error over test patients",
    "seed_error": "standard error over seeds; NaN with one seed, whose interval covers patients only",
    "seeds": "number of seeds",
    "unit": "what was resampled: patients or samples",
    "units": "how many of these",
    "undefined": "resamples without a defined difference, left out",
    "reason": "why there is no difference; empty otherwise",
}


def paired_differences(
    columns: Iterable[ComparisonDraws], methods: Sequence[str], baseline: str, level: float
) -> pd.DataFrame:
    """Every method against the baseline, in every column.

    Args:
        columns: of the leaderboard.
        methods: of the protocol; the baseline itself has no row.
        baseline: id of a method.
        level: nominal coverage; 1 - level is the family-wise error of the corrected tests.

    Returns:
        Columns as in DIFFERENCES, one row per column and method.
    """
    rows = [
        _row(column, method, baseline, level)
        for column in columns
        for method in methods
        if method != baseline
    ]
    return corrected(typed(pd.DataFrame(rows, columns=list(DIFFERENCES))), level)


def compared(column: ComparisonDraws, method: str, baseline: str) -> PairedEffect | None:
    """One method against another in one column; None where either lacks a result."""
    one, other = column.row(method), column.row(baseline)
    if one is None or other is None:
        return None
    return paired_effect(
        column.values[one] - column.values[other],
        column.mean_draws[one] - column.mean_draws[other],
        column.units,
        column.seed_variance,
    )


def corrected(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Correct the p-values of each evaluation's rows together: that is one table of the page."""
    adjusted = table.groupby("evaluation", sort=False)["p"].transform(holm) if len(table) else table["p"]
    return table.assign(p_holm=adjusted, distinguishable=adjusted < 1 - level)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction (Holm 1979): any dependence is allowed; NaN stay NaN and do not count.

    Args:
        p_values: (T,) of T tests.

    Returns:
        (T,) adjusted p-values: below a, the family-wise error is at most a.
    """
    p_values = np.asarray(p_values, dtype=float)
    tests = np.flatnonzero(~np.isnan(p_values))
    order = tests[np.argsort(p_values[tests], kind="stable")]
    adjusted = np.full(p_values.shape, np.nan)
    steps = p_values[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1) if order.size else steps
    return adjusted


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """The column types that every frame of the analysis shares."""
    return table.astype({"fraction": float, "block": "Int64"})


def _row(column: ComparisonDraws, method: str, baseline: str, level: float) -> dict[str, Any]:
    place = {"metric": column.metric, "method": method, "baseline": baseline}
    row: dict[str, Any] = {**column.place._asdict(), **place, "seeds": len(column.seeds)}
    row |= {"unit": column.unit, "units": column.units}
    estimate = compared(column, method, baseline)
    if estimate is None:
        lacking = [name for name in (method, baseline) if name in column.excluded]
        nothing = dict.fromkeys(("effect", "low", "high", "p", "patient_error", "seed_error"), math.nan)
        reason = "; ".join(f"{name}: {column.excluded[name]}" for name in lacking)
        return {**row, **nothing, "undefined": 0, "reason": reason}
    low, high = estimate.interval(level)
    one, other = column.methods.index(method), column.methods.index(baseline)
    undefined = np.isnan(column.mean_draws[[one, other]]).any(axis=0).sum()
    return {
        **row,
        "effect": estimate.effect,
        "low": low,
        "high": high,
        "p": estimate.p_value,
        "patient_error": math.sqrt(estimate.patient_variance),
        "seed_error": math.sqrt(estimate.seed_variance) if estimate.seeds > 1 else math.nan,
        "undefined": int(undefined),
        "reason": "",
    }
