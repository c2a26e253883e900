"""Who is ahead over all data sets: the mean score of every method, and who can be told from the best.

The score of a run is its primary metric on the scale on which 0 is chance and 1 the perfect model, so that
data sets with different metrics can be averaged. This is the one order of the leaderboard.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from bench.analysis.aggregates import lacking, lowest_score, score
from bench.analysis.ranking.best_of_many import p_of_being_best
from bench.analysis.row_models import Number, RowModel
from bench.protocol.protocol import ReportSettings
from bench.summary.draws import Comparison, ComparisonDraws
from bench.summary.estimated_mean import EstimatedMean, satterthwaite

Array = NDArray[np.float64]


class StandingRow(RowModel):
    """One method in one evaluation, over all data sets and label sets (or blocks)."""

    evaluation: str = Field(description="finetune, frozen, knn or probe")
    method: str = Field(description="id of the method")
    reference: bool = Field(
        description="whether the method is a reference that does not pretrain: it is not ranked"
    )
    mean_score: Number = Field(
        description="mean over the columns of the primary metric, scaled so that 0 is chance and 1 is "
        "perfect; NaN where a result is missing"
    )
    low: Number = Field(
        description="lower end of its interval, over patients and seeds, with one seed over patients only"
    )
    high: Number = Field(description="upper end")
    rank: Number = Field(
        description="1 is the highest mean score; equal ones share their average; NaN for references"
    )
    p_best: Number = Field(
        description="p of being among the best, corrected for all pairs of methods; NaN below the least "
        "number of seeds and for references"
    )
    worse: bool = Field(
        description="whether it can be told from the best: p_best is below 1 - level; False below the least "
        "number of seeds"
    )
    columns_averaged: int = Field(
        alias="columns", description="how many columns of the leaderboard the row is over"
    )
    datasets: int = Field(description="how many data sets the row is over: all of the protocol")
    reason: str = Field(description="which results lack; empty otherwise")


def standing_table(
    columns: Iterable[ComparisonDraws],
    methods: Sequence[str],
    settings: ReportSettings,
    references: Sequence[str] = (),
) -> pd.DataFrame:
    """Where every method stands in each evaluation.

    Args:
        columns: of the leaderboard.
        methods: of the protocol.
        settings: level and least number of seeds.
        references: methods that are shown but not ranked.

    Returns:
        Rows as StandingRow, by evaluation in the order of the columns, then by method.
    """
    groups: dict[str, list[ComparisonDraws]] = {}
    for column in columns:
        groups.setdefault(column.place.evaluation, []).append(column)
    return StandingRow.table(
        row for group in groups.values() for row in _rows(group, methods, settings, set(references))
    )


def estimated_score(columns: Sequence[ComparisonDraws], method: str) -> EstimatedMean:
    """The mean score of a method over some columns, with its uncertainty.

    The variance between seeds is that of each seed's mean over all columns: seeds are shared, so runs of one
    seed may be high together on several data sets. Patients are shared by the columns of a data set and by
    nothing else.

    Args:
        columns: that the method is in.
        method: id.
    """
    by_seed = np.mean([_scores(column, method) for column in columns], axis=0)
    variances: list[float] = []
    freedoms: list[float] = []
    for group in _by_dataset(columns):
        scores = [score(column.mean_draws[column.methods.index(method)], column.metric) for column in group]
        draws = np.sum(scores, axis=0) / len(columns)
        defined = draws[~np.isnan(draws)]
        variances.append(float(defined.var(ddof=1)) if defined.size > 1 else 0.0)
        freedoms.append(max(group[0].units - 1, 0))
    seeds = by_seed.size
    return EstimatedMean(
        value=float(by_seed.mean()),
        patient_variance=sum(variances),
        patient_freedom=satterthwaite(variances, freedoms),
        seed_parts=((float(by_seed.var(ddof=1)) / seeds, seeds - 1),) if seeds > 1 else (),
        seeds=seeds,
        units=sum(group[0].units for group in _by_dataset(columns)),
    )


def over_all(columns: Sequence[ComparisonDraws], methods: Sequence[str]) -> ComparisonDraws:
    """The columns of an evaluation as one column of mean scores, for comparing all pairs of methods.

    Args:
        columns: that all of the methods are in.
        methods: M ids.

    Returns:
        A column of (M, S) mean scores. Its draws are (M, 1, R), as the mean over seeds is all that such a
        comparison needs; the resamples of one data set are independent of those of another, so they are
        paired as they come, as many as are defined on every data set.
    """
    values = np.stack(
        [np.mean([_scores(column, method) for column in columns], axis=0) for method in methods]
    )
    parts = []
    for group in _by_dataset(columns):
        rows = [[column.methods.index(method) for method in methods] for column in group]
        draws = [
            score(column.mean_draws[row], column.metric) for column, row in zip(group, rows, strict=True)
        ]
        of_dataset = np.sum(draws, axis=0) / len(columns)
        parts.append(of_dataset[:, ~np.isnan(of_dataset).any(axis=0)])
    shortest = min(part.shape[1] for part in parts)
    return ComparisonDraws(
        place=Comparison("all data sets", columns[0].place.evaluation, None, None),
        metric="",
        seeds=columns[0].seeds,
        methods=tuple(methods),
        values=values,
        draws=np.sum([part[:, :shortest] for part in parts], axis=0)[:, None, :],
        unit=columns[0].unit,
        units=min(column.units for column in columns),
        excluded={},
    )


def _rows(
    columns: list[ComparisonDraws], methods: Sequence[str], settings: ReportSettings, references: set[str]
) -> list[dict[str, Any]]:
    reasons = {method: lacking(columns, method) for method in methods}
    ranked = [method for method in methods if not reasons[method] and method not in references]
    positions = _positions(columns, ranked, settings)
    facts = {
        "evaluation": columns[0].place.evaluation,
        "columns": len(columns),
        "datasets": len(_by_dataset(columns)),
    }
    rows = []
    for method in methods:
        row = {**facts, "method": method, "reference": method in references, "reason": reasons[method]}
        row |= {"worse": False, **positions.get(method, {})}
        if not reasons[method]:
            row |= _with_interval(estimated_score(columns, method), columns, settings.level)
        rows.append(row)
    return rows


def _with_interval(
    estimate: EstimatedMean, columns: Sequence[ComparisonDraws], level: float
) -> dict[str, float]:
    """A mean score with its interval, which ends where the scores end."""
    lowest = float(np.mean([lowest_score(column.metric) for column in columns]))
    low, high = estimate.interval_within(level, lowest, 1)
    return {"mean_score": estimate.value, "low": low, "high": high}


def _positions(
    columns: list[ComparisonDraws], methods: list[str], settings: ReportSettings
) -> dict[str, dict[str, Any]]:
    """Ranks, and with enough seeds who can be told from the best."""
    if not methods:
        return {}
    joined = over_all(columns, methods)
    ranks = stats.rankdata(-joined.values.mean(axis=1))
    if len(joined.seeds) < settings.least_seeds:
        p_values = np.full(len(methods), math.nan)
    else:
        p_values = p_of_being_best(joined, methods)
    return {
        method: {"rank": rank, "p_best": p, "worse": bool(p < 1 - settings.level)}
        for method, rank, p in zip(methods, ranks, p_values, strict=True)
    }


def _scores(column: ComparisonDraws, method: str) -> Array:
    """(S,) scores of a method's runs."""
    return score(column.values[column.methods.index(method)], column.metric)


def _by_dataset(columns: Sequence[ComparisonDraws]) -> list[list[ComparisonDraws]]:
    groups: dict[str, list[ComparisonDraws]] = {}
    for column in columns:
        groups.setdefault(column.place.dataset, []).append(column)
    return list(groups.values())
