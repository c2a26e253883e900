"""Rank of every method in every column, with its uncertainty, and who cannot be told from the best."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from bench.analysis.ranking.best_of_many import p_of_being_best
from bench.analysis.row_models import Count, Number, RowModel
from bench.protocol.protocol import ReportSettings
from bench.summary.draws import ComparisonDraws
from bench.summary.estimated_mean import seed_multipliers, with_seed_noise
from imssl.seeds import numpy_generator


class RankRow(RowModel):
    """Where one method stands in one column of the leaderboard."""

    dataset: str = Field(description="id of the data set")
    evaluation: str = Field(description="finetune, frozen, knn or probe")
    fraction: Number = Field(description="share of the labels; NaN for probe and for k-shot")
    labels_per_class: Count = Field(default=None, description="of k-shot: labels per class; otherwise NA")
    block: Count = Field(description="of the encoder, 1 to 4; NA but for probe")
    metric: str = Field(description="the data set's primary metric")
    method: str = Field(description="id of the method")
    reference: bool = Field(
        description="whether the method is a reference that does not pretrain: it is shown and not ranked"
    )
    mean: Number = Field(description="over seeds; NaN where a seed has no result")
    low: Number = Field(
        description="lower end of the interval of the mean: over patients and seeds, with one seed over "
        "patients only"
    )
    high: Number = Field(description="upper end")
    lowest: Number = Field(description="of the seeds")
    highest: Number = Field(description="of the seeds")
    rank: Number = Field(
        description="1 is the highest mean among the methods with all results; equal means share their "
        "average"
    )
    rank_low: Number = Field(
        description="lower end of its interval, over patients and seeds; NaN below the least number of seeds"
    )
    rank_high: Number = Field(description="upper end")
    ranked: int = Field(description="how many methods were ranked")
    best: bool = Field(description="whether the mean is the highest; False below the least number of seeds")
    p_best: Number = Field(
        description="p of being among the best, corrected for all pairs of the column; 1 for the best; NaN "
        "below the least number of seeds"
    )
    tied: bool = Field(
        description="whether it cannot be told from the best: p_best is not below 1 - level; True for the "
        "best; False below the least number of seeds"
    )
    reason: str = Field(description="why there is no rank; empty otherwise")


def rank_table(
    columns: Iterable[ComparisonDraws],
    methods: Sequence[str],
    settings: ReportSettings,
    references: Sequence[str] = (),
) -> pd.DataFrame:
    """Where every method stands in every column.

    Args:
        columns: of the leaderboard.
        methods: of the protocol.
        settings: level and least number of seeds; 1 - level is the error of the marks, over a column.
        references: methods that are shown but not ranked.

    Returns:
        A row as RankRow per column and method; a method with a hole has a row without numbers.
    """
    return RankRow.table(
        row for column in columns for row in _rows(column, methods, settings, set(references))
    )


def rank_draws(column: ComparisonDraws, methods: Sequence[str]) -> NDArray[np.float64]:
    """Ranks among some methods as patients and seeds vary.

    A resample of patients gives the means over seeds. As so few seeds cannot be resampled, each mean moves
    besides by Student's noise of its own standard error between seeds. The columns of a data set share that
    noise, as their runs share encoders.

    Args:
        column: of the leaderboard.
        methods: M of its methods.

    Returns:
        (M, R) ranks, 1 the highest; NaN in a resample in which a metric is undefined.
    """
    rows = [column.methods.index(method) for method in methods]
    means, seeds = column.mean_draws[rows], len(column.seeds)
    if seeds > 1:
        generator = numpy_generator(0, "ranks", column.place.dataset)
        multipliers = seed_multipliers(len(rows), seeds, means.shape[1], generator)
        means = with_seed_noise(means, column.values[rows], multipliers)
    return stats.rankdata(-means, axis=0, nan_policy="propagate")


def _rows(
    column: ComparisonDraws, methods: Sequence[str], settings: ReportSettings, references: set[str]
) -> list[dict[str, Any]]:
    present = [method for method in methods if method in column.methods]
    ranked = [method for method in present if method not in references]
    place = {**column.place.columns, "metric": column.metric, "ranked": len(ranked)}
    rows: dict[str, dict[str, Any]] = {
        method: {
            **place,
            "method": method,
            "reference": method in references,
            "best": False,
            "tied": False,
            "reason": column.excluded.get(method, ""),
        }
        for method in methods
    }
    for method in present:
        interval, values = (
            column.interval(method, settings.level),
            column.values[column.methods.index(method)],
        )
        rows[method] |= {
            "mean": values.mean(),
            "low": interval.low,
            "high": interval.high,
            "lowest": values.min(),
            "highest": values.max(),
        }
    if ranked:
        for method, standing in zip(ranked, _standings(column, ranked, settings), strict=True):
            rows[method] |= standing
    return list(rows.values())


def _standings(column: ComparisonDraws, methods: list[str], settings: ReportSettings) -> list[dict[str, Any]]:
    """Rank, and with enough seeds its interval and the marks, of some methods of a column."""
    means = column.values[[column.methods.index(method) for method in methods]].mean(axis=1)
    ranks = stats.rankdata(-means)
    if len(column.seeds) < settings.least_seeds:
        return [{"rank": rank} for rank in ranks]
    draws = rank_draws(column, methods)
    defined = draws[:, ~np.isnan(draws).any(axis=0)]
    tails = [(1 - settings.level) / 2, (1 + settings.level) / 2]
    ends = np.quantile(defined, tails, axis=1) if defined.size else np.full((2, len(means)), math.nan)
    p_best = p_of_being_best(column, methods)
    return [
        {
            "rank": ranks[i],
            "rank_low": ends[0, i],
            "rank_high": ends[1, i],
            "best": bool(means[i] == means.max()),
            "p_best": p_best[i],
            "tied": bool(p_best[i] >= 1 - settings.level),
        }
        for i in range(len(methods))
    ]
