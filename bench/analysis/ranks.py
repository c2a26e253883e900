"""Rank of every method in every column, with its uncertainty, and who cannot be told from the best."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bench.analysis.differences import compared, holm, typed
from bench.summary.draws import ComparisonDraws
from imssl.seeds import numpy_generator

RANKS: dict[str, str] = {
    "dataset": "id of the data set",
    "evaluation": "finetune, frozen or probe",
    "fraction": "share of the labels; NaN for probe",
    "block": "of the encoder, 1 to 4; NA but for probe",
    "metric": "the data set's primary metric",
    "method": "id of the method",
    "mean": "over seeds; NaN where a seed has no result",
    "low": "lower end of the bootstrap interval of the mean, over test patients, seeds taken as given",
    "high": "upper end",
    "lowest": "of the seeds",
    "highest": "of the seeds",
    "rank": "1 is the highest mean among the methods with all results; equal means share their average",
    "rank_low": "lower end of its interval, over patients and, with two seeds or more, seeds",
    "rank_high": "upper end",
    "ranked": "how many methods were ranked",
    "best": "whether the mean is the highest",
    "p_best": "two-sided p of no difference to the best, Holm-corrected over the column; 1 for the best",
    "tied": "whether it cannot be told from the best: p_best is not below 1 - level; True for the best",
    "reason": "why there is no rank; empty otherwise",
}


def rank_table(columns: Iterable[ComparisonDraws], methods: Sequence[str], level: float) -> pd.DataFrame:
    """Where every method stands in every column.

    Args:
        columns: of the leaderboard.
        methods: of the protocol.
        level: nominal coverage of the intervals; 1 - level is the error of the tests against the best.

    Returns:
        Columns as in RANKS, one row per column and method; a method with a hole has a row without numbers.
    """
    rows = [row for column in columns for row in _rows(column, methods, level)]
    return typed(pd.DataFrame(rows, columns=list(RANKS)))


def rank_draws(column: ComparisonDraws, methods: Sequence[str]) -> NDArray[np.float64]:
    """Ranks among some methods as patients and seeds vary.

    A resample of patients gives the means over seeds. As so few seeds cannot be resampled, each mean moves
    besides by Student's noise of the standard error between seeds, pooled over the column's methods.

    Args:
        column: of the leaderboard.
        methods: M of its methods.

    Returns:
        (M, R) ranks, 1 the highest; NaN in a resample in which a metric is undefined.
    """
    rows = [column.methods.index(method) for method in methods]
    means = column.mean_draws[rows]
    variance, freedom = column.seed_variance
    if freedom:
        generator = numpy_generator(0, "ranks", *(str(part) for part in column.place))
        noise = generator.normal(size=(len(column.methods), means.shape[1]))
        # The variance of a difference belongs to two methods; its estimate is uncertain as a whole.
        scale = np.sqrt(
            variance / 2 / len(column.seeds) * freedom / generator.chisquare(freedom, means.shape[1])
        )
        means = means + (noise * scale)[rows]
    return stats.rankdata(-means, axis=0, nan_policy="propagate")


def _rows(column: ComparisonDraws, methods: Sequence[str], level: float) -> list[dict[str, Any]]:
    place = {**column.place._asdict(), "metric": column.metric, "ranked": len(column.methods)}
    nothing = dict.fromkeys(RANKS, math.nan) | {"best": False, "tied": False}
    rows = {
        method: {**nothing, **place, "method": method, "reason": column.excluded.get(method, "")}
        for method in methods
    }
    if not column.methods:
        return list(rows.values())
    means = column.values.mean(axis=1)
    ranks = stats.rankdata(-means)
    draws = rank_draws(column, column.methods)
    defined = draws[:, ~np.isnan(draws).any(axis=0)]
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends = np.quantile(defined, tails, axis=1) if defined.size else np.full((2, len(means)), np.nan)
    against_best = _against_best(column, int(means.argmax()))
    for i, method in enumerate(column.methods):
        interval = column.interval(method, level)
        rows[method] |= {
            "mean": means[i],
            "low": interval.low if interval.low is not None else math.nan,
            "high": interval.high if interval.high is not None else math.nan,
            "lowest": column.values[i].min(),
            "highest": column.values[i].max(),
            "rank": ranks[i],
            "rank_low": ends[0, i],
            "rank_high": ends[1, i],
            "best": bool(means[i] == means.max()),
            "p_best": against_best[i],
            # Not below: with nothing to judge by, two methods cannot be told apart.
            "tied": not against_best[i] < 1 - level,
        }
    return list(rows.values())


def _against_best(column: ComparisonDraws, best: int) -> NDArray[np.float64]:
    """(M,) corrected p-values of each method against the best one."""
    p_values = np.full(len(column.methods), np.nan)
    for i, method in enumerate(column.methods):
        estimate = compared(column, method, column.methods[best]) if i != best else None
        if estimate is not None:
            p_values[i] = estimate.p_value
    adjusted = holm(p_values)
    adjusted[best] = 1
    return adjusted
