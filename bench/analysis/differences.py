"""Paired comparison of every method with the baseline: same test samples, same seeds, same resamples."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from bench.analysis.row_models import Count, Number, RowModel
from bench.protocol.protocol import ReportSettings
from bench.summary.draws import ComparisonDraws


class DifferenceRow(RowModel):
    """One method against the baseline in one column of the leaderboard."""

    dataset: str = Field(description="id of the data set")
    evaluation: str = Field(description="finetune, frozen or probe")
    fraction: Number = Field(description="share of the labels; NaN for probe")
    block: Count = Field(description="of the encoder, 1 to 4; NA but for probe")
    metric: str = Field(description="the data set's primary metric")
    method: str = Field(description="id of the method")
    baseline: str = Field(description="id of the method it is compared with")
    reference: bool = Field(
        description="whether the method is a reference that does not pretrain: it is not among the "
        "corrected tests"
    )
    effect: Number = Field(
        description="mean over seeds of method minus baseline; NaN where a result is missing"
    )
    low: Number = Field(
        description="lower end of its interval at the protocol's level, not corrected; over patients and "
        "seeds, with one seed over patients only"
    )
    high: Number = Field(description="upper end")
    p: Number = Field(
        description="two-sided p-value of no difference, not corrected; NaN below the least number of seeds"
    )
    p_holm: Number = Field(
        description="the same, Holm-corrected over all rows of the same evaluation that have one"
    )
    distinguishable: bool = Field(description="whether p_holm is below 1 - level")
    patient_error: Number = Field(description="standard error over test patients")
    seed_error: Number = Field(
        description="standard error over seeds; NaN with one seed, whose interval covers patients only"
    )
    seeds: int = Field(description="number of seeds")
    unit: str = Field(description="what was resampled: patients or samples")
    units: int = Field(description="how many of these")
    undefined: int = Field(description="resamples without a defined difference, left out")
    reason: str = Field(description="why there is no difference; empty otherwise")


def paired_differences(
    columns: Iterable[ComparisonDraws],
    methods: Sequence[str],
    settings: ReportSettings,
    references: Sequence[str] = (),
) -> pd.DataFrame:
    """Every method against the baseline, in every column.

    Args:
        columns: of the leaderboard.
        methods: of the protocol; the baseline itself has no row.
        settings: baseline, level and least number of seeds; 1 - level is the family-wise error of the
            corrected tests.
        references: methods that are shown but not tested.

    Returns:
        A row as DifferenceRow per column and method.
    """
    rows = [
        _row(column, method, settings) | {"reference": method in references}
        for column in columns
        for method in methods
        if method != settings.baseline
    ]
    table = DifferenceRow.table({**row, "distinguishable": False} for row in rows)
    return corrected(table, settings.level)


def corrected(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Correct the p-values of each evaluation's rows together: that is one table of the page."""
    tested = table["p"].where(~table["reference"])
    adjusted = tested.groupby(table["evaluation"], sort=False).transform(holm) if len(table) else tested
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


def _row(column: ComparisonDraws, method: str, settings: ReportSettings) -> dict[str, Any]:
    baseline, seeds = settings.baseline, len(column.seeds)
    row: dict[str, Any] = {
        **column.place._asdict(),
        "metric": column.metric,
        "method": method,
        "baseline": baseline,
        "seeds": seeds,
        "unit": column.unit,
        "units": column.units,
    }
    difference = column.difference(method, baseline)
    if difference is None:
        lacking = [name for name in (method, baseline) if name in column.excluded]
        reason = "; ".join(f"{name}: {column.excluded[name]}" for name in lacking)
        return {**row, "undefined": 0, "reason": reason}
    low, high = difference.interval(settings.level)
    pair = [column.methods.index(name) for name in (method, baseline)]
    return {
        **row,
        "effect": difference.value,
        "low": low,
        "high": high,
        "p": difference.p_value if seeds >= settings.least_seeds else math.nan,
        "patient_error": math.sqrt(difference.patient_variance),
        "seed_error": math.sqrt(difference.seed_variance) if seeds > 1 else math.nan,
        "undefined": int(np.isnan(column.mean_draws[pair]).any(axis=0).sum()),
        "reason": "",
    }
