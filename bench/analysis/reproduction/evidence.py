"""What a run measures of each claim: effects by data set, positive where they agree with the claim."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.aggregates import scale_of
from bench.protocol.protocol import Protocol
from bench.summary.draws import Comparison, ComparisonDraws
from bench.summary.estimated_mean import EstimatedMean, difference_of_rows, mean_of_row

EARLY, LATE = (1, 2), (3, 4)
BEFORE_LAST = (1, 2, 3)
CKA, KS = "cka_linear", "ks"


@dataclass(frozen=True)
class Evidence:
    """What the measures read.

    Attributes:
        protocol: of the run.
        columns: the primary metric and its draws.
        table: the tidy table of all results.
    """

    protocol: Protocol
    columns: Mapping[Comparison, ComparisonDraws]
    table: pd.DataFrame

    @cached_property
    def of_seeds(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """Rows about feature reuse and KS distances, not about one class, by data set, method and metric."""
        wanted = self.table["metric"].isin([CKA, KS]) & (self.table["class"] == "")
        groups = self.table[wanted].groupby(["dataset", "method", "metric"], sort=False)
        return {(str(key[0]), str(key[1]), str(key[2])): rows for key, rows in groups}


@dataclass(frozen=True)
class Effect:
    """One measured effect.

    Attributes:
        dataset: id.
        where: what tells it from other effects on the data set; may be empty.
        estimate: on the scale that claims are judged on, which for metrics is 0 at chance and 1 at the
            perfect model; None where a result is missing.
        reason: what is missing; empty otherwise.
        scale: how much finer that scale is than the metric itself.
    """

    dataset: str
    where: str
    estimate: EstimatedMean | None
    reason: str = ""
    scale: float = 1.0

    @property
    def in_metric(self) -> EstimatedMean | None:
        """The estimate in the unit of the metric itself, as the paper reports it."""
        return self.estimate.scaled(1 / self.scale) if self.estimate else None


# A run, a data set, a method and the method it is compared with.
Measure = Callable[[Evidence, str, str, str], list[Effect]]


def gain_with_fewest_labels(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """Fine-tuning with the smallest fraction; a run without one below 100% cannot say."""
    fraction = run.protocol.label_fractions[0]
    if fraction == 1:
        return [Effect(dataset, "", None, "no share of the labels below 100%")]
    return [_gain([run.columns[Comparison(dataset, "finetune", fraction, None)]], method, compared_with)]


def gain_everywhere(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """Fine-tuning with every fraction."""
    return [
        _gain([run.columns[Comparison(dataset, "finetune", fraction, None)]], method, compared_with)
        for fraction in run.protocol.label_fractions
    ]


def early_probe_gain(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """Probes of the blocks before the last, their mean; blocks of one encoder share seeds and patients."""
    columns = [run.columns[Comparison(dataset, "probe", None, block)] for block in BEFORE_LAST]
    return [_gain(columns, method, compared_with)]


def early_minus_late_similarity(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """CKA of blocks 1 and 2 minus that of blocks 3 and 4; the method alone, MoCo does not enter."""
    early, late = (_over_seeds(run, dataset, method, CKA, blocks) for blocks in (EARLY, LATE))
    reason = _without_all_seeds({method: early - late})
    # Both are of the same runs, so the difference is taken within each.
    return [Effect(dataset, "", None if reason else mean_of_row(early - late, [], units=0), reason)]


def similarity_gain(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """CKA over all blocks."""
    values = {name: _over_seeds(run, dataset, name, CKA, (*EARLY, *LATE)) for name in (method, compared_with)}
    return [_difference(dataset, values)]


def ks_reduction(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """KS distance, the other's minus the method's: lower is better."""
    if run.protocol.label_fractions == [1]:
        return [Effect(dataset, "", None, "no share of the labels below 100%")]
    return [
        _difference(
            dataset, {name: _over_seeds(run, dataset, name, KS, (None,)) for name in (compared_with, method)}
        )
    ]


MEASURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        gain_with_fewest_labels,
        gain_everywhere,
        early_minus_late_similarity,
        similarity_gain,
        early_probe_gain,
        ks_reduction,
    )
}


def _gain(columns: Sequence[ComparisonDraws], method: str, compared_with: str) -> Effect:
    """Mean over columns of one data set of the primary metric's difference, on the common scale."""
    place, metric = columns[0].place, columns[0].metric
    where = "" if place.fraction is None else f"{100 * place.fraction:g}% of the labels"
    for column in columns:
        lacking = [
            f"{name}: {column.excluded[name]}" for name in (method, compared_with) if name in column.excluded
        ]
        if lacking:
            return Effect(place.dataset, where, None, "; ".join(lacking))
    values, draws = {}, {}
    for name in (method, compared_with):
        rows = [(column, column.methods.index(name)) for column in columns]
        values[name] = np.mean([column.values[row] for column, row in rows], axis=0)
        draws[name] = np.mean([column.mean_draws[row] for column, row in rows], axis=0)
    estimate = difference_of_rows(
        values[method], values[compared_with], draws[method] - draws[compared_with], columns[0].units
    )
    return Effect(place.dataset, where, estimate.scaled(scale_of(metric)), scale=scale_of(metric))


def _over_seeds(
    run: Evidence, dataset: str, method: str, metric: str, blocks: Sequence[int | None]
) -> NDArray[np.float64]:
    """(S,) a metric's mean over blocks and label fractions, by seed; NaN where one value is missing."""
    protocol = run.protocol
    rows = run.of_seeds.get((dataset, method, metric), run.table.iloc[:0])
    if blocks != (None,):
        rows = rows[rows["block"].isin(list(blocks))]
    # The outputs with all labels are what KS distances are measured from.
    smaller = sum(fraction < 1 for fraction in protocol.label_fractions)
    fractions = smaller if metric == KS else len(protocol.label_fractions)
    groups = rows.dropna(subset="value").groupby("seed")["value"].agg(["mean", "count"])
    complete = groups[groups["count"] == fractions * len(blocks)]["mean"]
    return complete.reindex(protocol.seeds).to_numpy(dtype=float)


def _difference(dataset: str, values: dict[str, NDArray[np.float64]]) -> Effect:
    """The first method minus the second, from one value per seed; nothing resamples patients here."""
    reason = _without_all_seeds(values)
    first, second = values.values()
    return Effect(dataset, "", None if reason else difference_of_rows(first, second, [], units=0), reason)


def _without_all_seeds(values: dict[str, NDArray[np.float64]]) -> str:
    lacking = [name for name, row in values.items() if np.isnan(row).any()]
    return f"no result of every seed: {', '.join(lacking)}" if lacking else ""
