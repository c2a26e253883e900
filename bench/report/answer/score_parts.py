"""What the page's script needs to compute aggregates anew when data sets or labels are filtered.

Of every method and data set: the score of each run, and the covariance over test patients of its mean scores.
From these come the mean score with its interval, the mean rank, the interquartile mean and the probability of
improvement, by the formulas of bench.analysis.ranking.standings and bench.analysis.aggregates.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from bench.analysis.aggregates import lowest_score, score
from bench.report.view import View
from bench.summary.draws import ComparisonDraws

# Student's quantile is nearly a straight line in 1 / (degrees of freedom), and freedom is never below 1.
QUANTILES = 101


def score_parts(view: View) -> dict[str, Any]:
    """Parts of every aggregate of the leaderboard.

    Returns:
        ``quantiles``: Student's, of 1 / freedom from 0 to 1 in equal steps; ``baseline``; ``references``;
        ``evaluations``: by evaluation and data set ``places``, the label sets or blocks; ``freedom`` of the
        patients; ``lowest``, the score of the worst possible model; and by method ``scores``, a list of S for
        each place or null where results lack, and ``covariance``, the lower triangle over the places.
    """
    protocol = view.summary.protocol
    evaluations: dict[str, dict[str, Any]] = {}
    groups: dict[tuple[str, str], list[ComparisonDraws]] = {}
    for place, column in view.summary.columns.items():
        groups.setdefault((place.evaluation, place.dataset), []).append(column)
    for (evaluation, dataset), columns in groups.items():
        evaluations.setdefault(evaluation, {})[dataset] = {
            "places": [
                f"block-{column.place.block}" if column.place.labels is None else column.place.labels.id
                for column in columns
            ],
            "freedom": max(columns[0].units - 1, 0),
            "lowest": lowest_score(columns[0].metric),
            "methods": {method: _parts(columns, method) for method in protocol.methods},
        }
    level = (1 + protocol.report.level) / 2
    inverse = np.linspace(0, 1, QUANTILES)[1:]
    quantiles = np.concatenate([[ndtri(level)], stdtrit(1 / inverse, level)])
    return {
        "quantiles": np.round(quantiles, 5).tolist(),
        "baseline": protocol.report.baseline,
        "references": list(view.references),
        "evaluations": evaluations,
    }


def _parts(columns: list[ComparisonDraws], method: str) -> dict[str, Any]:
    rows = [column.row(method) for column in columns]
    scores = [
        None if row is None else np.round(score(column.values[row], column.metric), 5).tolist()
        for column, row in zip(columns, rows, strict=True)
    ]
    draws = [
        np.full(column.draws.shape[-1], np.nan)
        if row is None
        else score(column.mean_draws[row], column.metric)
        for column, row in zip(columns, rows, strict=True)
    ]
    return {"scores": scores, "covariance": _lower_triangle(np.array(draws))}


def _lower_triangle(draws: NDArray[np.float64]) -> list[float]:
    """Covariance of some rows, (L, R), to three figures; 0 where a row has no two resamples in common."""
    present = ~np.isnan(draws).all(axis=1)
    covariance = np.zeros((len(draws), len(draws)))
    defined = draws[present][:, ~np.isnan(draws[present]).any(axis=0)]
    if defined.shape[0] and defined.shape[1] > 1:
        covariance[np.ix_(present, present)] = np.cov(defined)
    return [float(f"{value:.3g}") for value in covariance[np.tril_indices(len(draws))]]
