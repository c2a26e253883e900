"""Over data sets: mean rank, interquartile mean and probability of improvement (Agarwal et al. 2021).

Agarwal et al. resample runs for their intervals. With two to five seeds that covers .74 to .86 of a nominal
.95, and test patients are left out. Here the interval of the interquartile mean adds both parts; the
probability of improvement has none, as none holds with so few seeds (docs/statistics.md).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from bench.analysis.ranking.ranks import rank_draws
from bench.analysis.row_models import Count, Number, RowModel
from bench.protocol.label_columns import label_columns
from bench.protocol.protocol import ReportSettings
from bench.summary.bootstrap import percentile_interval
from bench.summary.draws import ComparisonDraws
from bench.summary.estimated_mean import EstimatedMean
from imssl.metrics import lowest_value
from imssl.settings.labels import LabelSet

# With fewer columns, or columns of one data set only, the order statistics of an interquartile mean are those
# of a handful of runs, and its interval covers as little as .88 of a nominal .95.
LEAST_COLUMNS, LEAST_DATASETS = 4, 2
# The share that is cut at either end.
TRIM = 0.25


class AggregateRow(RowModel):
    """One method over all data sets."""

    evaluation: str = Field(description="finetune, frozen, knn or probe")
    fraction: Number = Field(
        description="share of the labels; NaN for probe and for k-shot, and for all label sets together"
    )
    labels_per_class: Count = Field(default=None, description="of k-shot: labels per class; otherwise NA")
    block: Count = Field(description="of the encoder; NA but for probe, and for all blocks together")
    overall: bool = Field(description="whether the row is over all label sets (or blocks) together")
    method: str = Field(description="id of the method")
    reference: bool = Field(
        description="whether the method is a reference that does not pretrain: it is not ranked"
    )
    baseline: str = Field(description="id of the method that the probability of improvement is against")
    mean_rank: Number = Field(
        description="mean over the columns of the rank among the methods with complete results"
    )
    mean_rank_low: Number = Field(
        description="lower end of its interval, over patients and seeds; NaN below the least number of seeds"
    )
    mean_rank_high: Number = Field(description="upper end")
    iqm: Number = Field(description="mean of the middle half of all runs' scores; 0 is chance, 1 is perfect")
    iqm_low: Number = Field(
        description="lower end of its interval, over patients and seeds; NaN below the least number of "
        "seeds, for fewer than four columns and for one data set"
    )
    iqm_high: Number = Field(description="upper end")
    improvement: Number = Field(
        description="probability that a run of the method beats a run of the baseline, mean over the "
        "columns; NaN for the baseline"
    )
    ranked: int = Field(description="how many methods were ranked")
    columns_averaged: int = Field(
        alias="columns", description="how many columns of the leaderboard the row is over"
    )
    datasets: int = Field(description="how many data sets the row is over: all of the protocol")
    reason: str = Field(
        description="which results lack; empty if the row is complete, and only then it has numbers"
    )


def aggregate_table(
    columns: Iterable[ComparisonDraws],
    methods: Sequence[str],
    settings: ReportSettings,
    references: Sequence[str] = (),
) -> pd.DataFrame:
    """Every method over all data sets, for each evaluation and label set or block, and over all of them.

    A method that lacks a single result has a row that says which, and no numbers; the others are ranked
    without it in every column, so that their ranks mean the same everywhere.

    Args:
        columns: of the leaderboard.
        methods: of the protocol.
        settings: baseline, level of the intervals and least number of seeds.
        references: methods that are shown but not ranked.

    Returns:
        Rows as AggregateRow.
    """
    rows: list[dict[str, Any]] = []
    for kind, group in _groups(list(columns)):
        rows += _rows(kind, group, methods, settings, references)
    return AggregateRow.table(rows)


def scale_of(metric: str) -> float:
    """How much finer than the metric the common scale is, on which 0 is chance and 1 the perfect model.

    Kappa is on that scale already; AUROC has 0.5 at chance, which gives 2 AUROC - 1, the Gini coefficient.
    """
    return 1.0 if metric == "qwk" else 2.0


def score(values: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """A metric on the common scale, so that data sets can be averaged."""
    return 1 - scale_of(metric) * (1 - values)


def lowest_score(metric: str) -> float:
    """The score of the worst possible model."""
    return float(score(np.array(lowest_value(metric)), metric))


def interquartile_mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the middle half along the last axis (Agarwal et al. 2021, section 4.3)."""
    return stats.trim_mean(scores, TRIM, axis=-1)


def estimated_iqm(columns: Sequence[ComparisonDraws], method: str) -> EstimatedMean:
    """The interquartile mean of a method's runs in some columns, with its uncertainty.

    The patients' part is its variance over their resamples. The seeds' part is that of a trimmed mean, by
    Winsorised scores with the small-sample factor and degrees of freedom of Yuen (1974): columns and data
    sets share seeds, so a seed's contributions to all of them are added before their variance is taken.

    Args:
        columns: that the method is in; 2 seeds or more.
        method: id.
    """
    rows = [column.methods.index(method) for column in columns]
    scores = np.stack(
        [score(column.values[row], column.metric) for column, row in zip(columns, rows, strict=True)]
    )
    seeds, runs = scores.shape[1], scores.size
    cut = int(TRIM * runs)
    kept = runs - 2 * cut
    ordered = np.sort(scores, axis=None)
    contributions = np.clip(scores, ordered[cut], ordered[runs - cut - 1]) / kept
    yuen = kept * (runs - 1) / (runs * (kept - 1)) if kept > 1 else 1.0
    variance = yuen * seeds * float(contributions.sum(axis=0).var(ddof=1))
    draws = np.concatenate(
        [score(column.draws[row], column.metric) for column, row in zip(columns, rows, strict=True)]
    )
    resampled = interquartile_mean(draws.T)
    return EstimatedMean(
        value=float(interquartile_mean(scores.ravel())),
        patient_variance=float(np.nanvar(resampled, ddof=1)),
        patient_freedom=max(min(column.units for column in columns) - 1, 1),
        seed_parts=((variance, (seeds - 1) * kept / runs),),
        seeds=seeds,
        units=sum({column.place.dataset: column.units for column in columns}.values()),
    )


def improvement(scores: NDArray[np.float64], baseline: NDArray[np.float64]) -> float:
    """Probability that a run of one method beats a run of another: Mann-Whitney U over the number of pairs.

    Args:
        scores: (S,) runs of the method.
        baseline: (S,) runs of the other.

    Returns:
        Share of pairs won; a tie counts half.
    """
    wins = (scores[:, None] > baseline) + 0.5 * (scores[:, None] == baseline)
    return float(wins.mean())


# Evaluation, label set, block, and whether the row is over all label sets or blocks.
Kind = tuple[str, LabelSet | None, int | None, bool]


def _groups(columns: list[ComparisonDraws]) -> list[tuple[Kind, list[ComparisonDraws]]]:
    """Columns that are averaged together: by evaluation and label set or block, then all of an evaluation."""
    groups: dict[Kind, list[ComparisonDraws]] = {}
    for column in columns:
        place = column.place
        groups.setdefault((place.evaluation, place.labels, place.block, False), []).append(column)
    for column in columns:
        groups.setdefault((column.place.evaluation, None, None, True), []).append(column)
    return list(groups.items())


def _rows(
    kind: Kind,
    columns: list[ComparisonDraws],
    methods: Sequence[str],
    settings: ReportSettings,
    references: Sequence[str],
) -> list[dict[str, Any]]:
    reasons = {method: lacking(columns, method) for method in methods}
    complete = [method for method in methods if not reasons[method]]
    ranks = _mean_ranks(columns, [method for method in complete if method not in references], settings)
    evaluation, labels, block, overall = kind
    facts = {
        "evaluation": evaluation,
        **label_columns(labels),
        "block": block,
        "overall": overall,
        "baseline": settings.baseline,
        "ranked": len(ranks),
        "columns": len(columns),
        "datasets": len({column.place.dataset for column in columns}),
    }
    rows = []
    for method in methods:
        row = {**facts, "method": method, "reference": method in references, "reason": reasons[method]}
        if method in complete:
            row |= ranks.get(method, {}) | _interquartile(columns, method, settings)
            if method != settings.baseline and settings.baseline in complete:
                row["improvement"] = _improvement(columns, method, settings.baseline)
        rows.append(row)
    return rows


def lacking(columns: Sequence[ComparisonDraws], method: str) -> str:
    """Which columns a method has no complete results in, and why; empty if none."""
    reasons: dict[str, None] = {}
    for column in columns:
        if method in column.excluded:
            reasons[f"{column.place.dataset}: {column.excluded[method]}"] = None
    return "; ".join(reasons)


def _mean_ranks(
    columns: list[ComparisonDraws], methods: list[str], settings: ReportSettings
) -> dict[str, dict[str, float]]:
    """Mean rank of some methods, with its interval where there are enough seeds."""
    if not methods:
        return {}
    means = [
        column.values[[column.methods.index(method) for method in methods]].mean(axis=1) for column in columns
    ]
    ranks = np.mean([stats.rankdata(-column_means) for column_means in means], axis=0)
    rows = {method: {"mean_rank": float(rank)} for method, rank in zip(methods, ranks, strict=True)}
    if len(columns[0].seeds) >= settings.least_seeds:
        draws = np.mean([rank_draws(column, methods) for column in columns], axis=0)
        for method, drawn in zip(methods, draws, strict=True):
            low, high = percentile_interval(drawn, settings.level)
            rows[method] |= {
                "mean_rank_low": math.nan if low is None else low,
                "mean_rank_high": math.nan if high is None else high,
            }
    return rows


def _interquartile(columns: list[ComparisonDraws], method: str, settings: ReportSettings) -> dict[str, float]:
    datasets = {column.place.dataset for column in columns}
    few = len(columns) < LEAST_COLUMNS or len(datasets) < LEAST_DATASETS
    if len(columns[0].seeds) < settings.least_seeds or few:
        scores = [score(column.values[column.methods.index(method)], column.metric) for column in columns]
        return {"iqm": float(interquartile_mean(np.concatenate(scores)))}
    estimate = estimated_iqm(columns, method)
    low, high = estimate.interval(settings.level)
    return {"iqm": estimate.value, "iqm_low": low, "iqm_high": high}


def _improvement(columns: list[ComparisonDraws], method: str, baseline: str) -> float:
    rows = [(column, column.methods.index(method), column.methods.index(baseline)) for column in columns]
    return float(
        np.mean([improvement(column.values[row], column.values[other]) for column, row, other in rows])
    )
