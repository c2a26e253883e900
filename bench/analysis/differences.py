"""Paired comparison of every method with the baseline: same test samples, same seeds, same resamples."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from bench.analysis.ranking.against_baseline import corrected_p_values
from bench.analysis.row_models import Count, Number, RowModel
from bench.protocol.protocol import ReportSettings
from bench.summary.draws import Comparison, ComparisonDraws
from imssl.metrics import lowest_value


class DifferenceRow(RowModel):
    """One method against the baseline in one column of the leaderboard."""

    dataset: str = Field(description="id of the data set")
    evaluation: str = Field(description="finetune, frozen, knn or probe")
    fraction: Number = Field(description="share of the labels; NaN for probe and for k-shot")
    labels_per_class: Count = Field(default=None, description="of k-shot: labels per class; otherwise NA")
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
        "seeds, with one seed over patients only; it ends where differences of the metric end"
    )
    high: Number = Field(description="upper end")
    p: Number = Field(
        description="two-sided p-value of no difference, not corrected; NaN below the least number of seeds"
    )
    p_corrected: Number = Field(
        description="the same, corrected over all rows of the same evaluation that have one: how often the "
        "largest difference of such a table would be as clear by chance"
    )
    distinguishable: bool = Field(description="whether p_corrected is below 1 - level")
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
    columns = list(columns)
    corrected = _corrected(columns, [name for name in methods if name not in references], settings)
    rows = []
    for column in columns:
        for method in methods:
            if method != settings.baseline:
                row = _row(column, method, settings) | {"reference": method in references}
                p = corrected.get((column.place, method), math.nan)
                # A test that was made among others says no more than by itself.
                p = max(p, row["p"]) if not math.isnan(p) else p
                rows.append(row | {"p_corrected": p, "distinguishable": p < 1 - settings.level})
    return DifferenceRow.table(rows)


def _corrected(
    columns: Sequence[ComparisonDraws], tested: Sequence[str], settings: ReportSettings
) -> dict[tuple[Comparison, str], float]:
    """The p-values of each evaluation corrected together: that is one table of the page."""
    by_evaluation: dict[str, list[ComparisonDraws]] = {}
    for column in columns:
        if len(column.seeds) >= settings.least_seeds:
            by_evaluation.setdefault(column.place.evaluation, []).append(column)
    tables = [corrected_p_values(group, tested, settings.baseline) for group in by_evaluation.values()]
    return {key: p for table in tables for key, p in table.items()}


def _row(column: ComparisonDraws, method: str, settings: ReportSettings) -> dict[str, Any]:
    baseline, seeds = settings.baseline, len(column.seeds)
    row: dict[str, Any] = {
        **column.place.columns,
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
    # Where both values end, so does their difference; mean scores have no one metric.
    reach = 1 - lowest_value(column.metric) if column.metric else math.inf
    low, high = difference.interval_within(settings.level, -reach, reach)
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
