"""Over data sets: mean rank, interquartile mean and probability of improvement (Agarwal et al. 2021)."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bench.analysis.differences import typed
from bench.analysis.ranks import rank_draws
from bench.summary.bootstrap import percentile_interval
from bench.summary.draws import Comparison, ComparisonDraws
from imssl.seeds import numpy_generator

AGGREGATES: dict[str, str] = {
    "evaluation": "finetune, frozen or probe",
    "fraction": "share of the labels; NaN for probe, and for all fractions together",
    "block": "of the encoder; NA but for probe, and for all blocks together",
    "overall": "whether the row is over all fractions (or blocks) together",
    "method": "id of the method",
    "baseline": "id of the method that the probability of improvement is against",
    "mean_rank": "mean over the columns of the rank among the methods with complete results",
    "mean_rank_low": "lower end of its interval, over patients and, with two seeds or more, seeds",
    "mean_rank_high": "upper end",
    "iqm": "mean of the middle half of all runs' scores; 0 is chance, 1 is perfect",
    "iqm_low": "lower end of its interval, stratified bootstrap over seeds; NaN with one seed",
    "iqm_high": "upper end",
    "improvement": "probability that a run of the method beats a run of the baseline, mean over the columns; "
    "NaN for the baseline",
    "improvement_low": "lower end of its interval, stratified bootstrap over seeds; NaN with one seed",
    "improvement_high": "upper end",
    "ranked": "how many methods were ranked",
    "columns": "how many columns of the leaderboard the row is over",
    "datasets": "how many data sets the row is over: all of the protocol",
    "reason": "which results lack; empty if the row is complete, and only then it has numbers",
}


def aggregate_table(
    columns: Iterable[ComparisonDraws], methods: Sequence[str], baseline: str, level: float
) -> pd.DataFrame:
    """Every method over all data sets, for each evaluation and label fraction or block, and over all of them.

    A method that lacks a single result has a row that says which, and no numbers; the others are ranked
    without it in every column, so that their ranks mean the same everywhere.

    Args:
        columns: of the leaderboard.
        methods: of the protocol.
        baseline: id of a method.
        level: nominal coverage of the intervals.

    Returns:
        Columns as in AGGREGATES.
    """
    rows: list[dict[str, Any]] = []
    for kind, group in _groups(list(columns)):
        rows += _rows(kind, group, methods, baseline, level)
    return typed(pd.DataFrame(rows, columns=list(AGGREGATES)))


def score(values: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """A metric with 0 at chance and 1 at the perfect model, so that data sets can be averaged.

    Kappa is that already; AUROC has 0.5 at chance, which gives 2 AUROC - 1, the Gini coefficient.
    """
    return values if metric == "qwk" else 2 * values - 1


def interquartile_mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the middle half along the last axis (Agarwal et al. 2021, section 4.3)."""
    return stats.trim_mean(scores, 0.25, axis=-1)


def improvement(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    counts_one: NDArray[np.int64],
    counts_other: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Probability that a run of one method beats a run of another: Mann-Whitney U over the number of pairs.

    Args:
        one: (S,) runs of one method.
        other: (S,) runs of the other.
        counts_one: (B, S) how often each run is drawn in each resample.
        counts_other: likewise.

    Returns:
        (B,) shares of pairs won; a tie counts half.
    """
    wins = (one[:, None] > other) + 0.5 * (one[:, None] == other)
    return ((counts_one @ wins) * counts_other).sum(axis=1) / (one.size * other.size)


Kind = tuple[str, float | None, int | None, bool]


def _groups(columns: list[ComparisonDraws]) -> list[tuple[Kind, list[ComparisonDraws]]]:
    """Columns that are averaged together: by evaluation and fraction or block, then all of an evaluation."""
    groups: dict[Kind, list[ComparisonDraws]] = {}
    for column in columns:
        place = column.place
        groups.setdefault((place.evaluation, place.fraction, place.block, False), []).append(column)
    for column in columns:
        groups.setdefault((column.place.evaluation, None, None, True), []).append(column)
    return list(groups.items())


def _rows(
    kind: Kind,
    columns: list[ComparisonDraws],
    methods: Sequence[str],
    baseline: str,
    level: float,
) -> list[dict[str, Any]]:
    lacking = {method: _lacking(columns, method) for method in methods}
    complete = [method for method in methods if not lacking[method]]
    facts = dict(zip(("evaluation", "fraction", "block", "overall"), kind, strict=True))
    facts |= {"baseline": baseline, "ranked": len(complete), "columns": len(columns)}
    datasets = len({column.place.dataset for column in columns})
    nothing = dict.fromkeys(AGGREGATES, math.nan) | facts | {"datasets": datasets}
    rows = {method: {**nothing, "method": method, "reason": lacking[method]} for method in methods}
    if complete:
        ranks = np.mean([stats.rankdata(-_means(column, complete)) for column in columns], axis=0)
        draws = np.mean([rank_draws(column, complete) for column in columns], axis=0)
    seed_draws = _SeedDraws(columns)
    for i, method in enumerate(complete):
        rows[method] |= {"mean_rank": ranks[i]} | _ends("mean_rank", draws[i], level)
        rows[method] |= _runs(columns, method, seed_draws, level)
        if method != baseline and baseline in complete:
            rows[method] |= _improvement(columns, method, baseline, seed_draws, level)
    return list(rows.values())


def _lacking(columns: list[ComparisonDraws], method: str) -> str:
    """Which columns a method has no complete results in, and why; empty if none."""
    reasons: dict[str, None] = {}
    for column in columns:
        if method in column.excluded:
            reasons[f"{column.place.dataset}: {column.excluded[method]}"] = None
    return "; ".join(reasons)


def _means(column: ComparisonDraws, methods: list[str]) -> NDArray[np.float64]:
    return column.values[[column.methods.index(method) for method in methods]].mean(axis=1)


class _SeedDraws:
    """Which seeds are drawn, by data set and side of a comparison.

    The columns of a data set share their draws: their runs start from the same pretrained encoders.
    """

    def __init__(self, columns: list[ComparisonDraws]) -> None:
        self.resamples = columns[0].draws.shape[2]
        self.seeds = len(columns[0].seeds)
        self._drawn: dict[tuple[str, str], NDArray[np.int64]] = {}
        self._counts: dict[tuple[str, str], NDArray[np.int64]] = {}

    def drawn(self, place: Comparison, side: str) -> NDArray[np.int64]:
        """(R, S) places of the drawn seeds in the protocol's list."""
        key = (place.dataset, side)
        if key not in self._drawn:
            generator = numpy_generator(0, "seeds", *key)
            self._drawn[key] = generator.integers(self.seeds, size=(self.resamples, self.seeds))
        return self._drawn[key]

    def counts(self, place: Comparison, side: str) -> NDArray[np.int64]:
        """(R, S) how often each seed is drawn."""
        key = (place.dataset, side)
        if key not in self._counts:
            self._counts[key] = (self.drawn(place, side)[:, :, None] == np.arange(self.seeds)).sum(axis=1)
        return self._counts[key]


def _runs(columns: list[ComparisonDraws], method: str, draws: _SeedDraws, level: float) -> dict[str, float]:
    scores = [score(column.values[column.methods.index(method)], column.metric) for column in columns]
    found = {"iqm": float(interquartile_mean(np.concatenate(scores)))}
    if draws.seeds == 1:
        return found
    resampled = [
        own[draws.drawn(column.place, "method")] for own, column in zip(scores, columns, strict=True)
    ]
    return found | _ends("iqm", interquartile_mean(np.concatenate(resampled, axis=1)), level)


def _improvement(
    columns: list[ComparisonDraws], method: str, baseline: str, draws: _SeedDraws, level: float
) -> dict[str, float]:
    pairs = [
        (column.values[column.methods.index(method)], column.values[column.methods.index(baseline)])
        for column in columns
    ]
    once = np.ones((1, draws.seeds), dtype=np.int64)
    found = {"improvement": float(np.mean([improvement(*pair, once, once) for pair in pairs]))}
    if draws.seeds == 1:
        return found
    varied = np.mean(
        [
            improvement(*pair, draws.counts(column.place, "method"), draws.counts(column.place, "baseline"))
            for pair, column in zip(pairs, columns, strict=True)
        ],
        axis=0,
    )
    return found | _ends("improvement", varied, level)


def _ends(name: str, values: NDArray[np.float64], level: float) -> dict[str, float]:
    low, high = percentile_interval(values, level)
    return {
        f"{name}_low": math.nan if low is None else low,
        f"{name}_high": math.nan if high is None else high,
    }
