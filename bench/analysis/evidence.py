"""What a run measures of each claim: effects by data set, positive where they agree with the claim."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.differences import compared
from bench.protocol.protocol import Protocol
from bench.summary.draws import Comparison, ComparisonDraws
from bench.summary.paired_effect import PairedEffect, paired_effect, pooled_seed_variance

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
        estimate: None where a result is missing.
        reason: what is missing; empty otherwise.
    """

    dataset: str
    where: str
    estimate: PairedEffect | None
    reason: str


# A run, a data set, a method and the method it is compared with.
Measure = Callable[[Evidence, str, str, str], list[Effect]]


def gain_with_fewest_labels(run: Evidence, dataset: str, method: str, reference: str) -> list[Effect]:
    """Fine-tuning with the smallest fraction; a run without one below 100% cannot say."""
    fraction = run.protocol.label_fractions[0]
    if fraction == 1:
        return [Effect(dataset, "", None, "no share of the labels below 100%")]
    return [_compared(run.columns[Comparison(dataset, "finetune", fraction, None)], method, reference)]


def gain_everywhere(run: Evidence, dataset: str, method: str, reference: str) -> list[Effect]:
    """Fine-tuning with every fraction."""
    return [
        _compared(run.columns[Comparison(dataset, "finetune", fraction, None)], method, reference)
        for fraction in run.protocol.label_fractions
    ]


def early_probe_gain(run: Evidence, dataset: str, method: str, reference: str) -> list[Effect]:
    """Probes of the blocks before the last."""
    columns = [run.columns[Comparison(dataset, "probe", None, block)] for block in BEFORE_LAST]
    lacking = [_lacking(column, method, reference) for column in columns]
    if any(lacking):
        return [Effect(dataset, "", None, next(reason for reason in lacking if reason))]
    common = [name for name in columns[0].methods if all(name in column.methods for column in columns)]
    rows = [[column.methods.index(name) for name in common] for column in columns]
    # Blocks of one encoder share seeds and patients, so their mean is varied as a whole.
    pairs = list(zip(columns, rows, strict=True))
    values = np.mean([column.values[row] for column, row in pairs], axis=0)
    draws = np.mean([column.mean_draws[row] for column, row in pairs], axis=0)
    one, other = common.index(method), common.index(reference)
    estimate = paired_effect(
        values[one] - values[other], draws[one] - draws[other], columns[0].units, pooled_seed_variance(values)
    )
    return [Effect(dataset, "", estimate, "")]


def early_minus_late_similarity(run: Evidence, dataset: str, method: str, reference: str) -> list[Effect]:
    """CKA of blocks 1 and 2 minus that of blocks 3 and 4; the method alone, MoCo does not enter."""
    early = _over_seeds(run, dataset, method, CKA, blocks=EARLY)
    late = _over_seeds(run, dataset, method, CKA, blocks=LATE)
    return [_of_seeds(dataset, method, early, method, late)]


def similarity_gain(run: Evidence, dataset: str, method: str, reference: str) -> list[Effect]:
    """CKA over all blocks."""
    one, other = (
        _over_seeds(run, dataset, name, CKA, blocks=(*EARLY, *LATE)) for name in (method, reference)
    )
    return [_of_seeds(dataset, method, one, reference, other)]


def ks_reduction(run: Evidence, dataset: str, method: str, reference: str) -> list[Effect]:
    """KS distance, the reference's minus the method's: lower is better."""
    if run.protocol.label_fractions == [1]:
        return [Effect(dataset, "", None, "no share of the labels below 100%")]
    one, other = (_over_seeds(run, dataset, name, KS, blocks=(None,)) for name in (reference, method))
    return [_of_seeds(dataset, reference, one, method, other)]


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


def _compared(column: ComparisonDraws, method: str, reference: str) -> Effect:
    place = column.place
    where = f"{100 * (place.fraction or 0):g}% of the labels"
    reason = _lacking(column, method, reference)
    return Effect(place.dataset, where, None if reason else compared(column, method, reference), reason)


def _lacking(column: ComparisonDraws, *methods: str) -> str:
    return "; ".join(f"{name}: {column.excluded[name]}" for name in methods if name in column.excluded)


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


def _of_seeds(
    dataset: str,
    one_name: str,
    one: NDArray[np.float64],
    other_name: str,
    other: NDArray[np.float64],
) -> Effect:
    """The paired difference of two values per seed; nothing resamples patients here."""
    lacking = [name for name, values in {one_name: one, other_name: other}.items() if np.isnan(values).any()]
    if lacking:
        return Effect(dataset, "", None, f"no result of every seed: {', '.join(lacking)}")
    return Effect(dataset, "", paired_effect(one - other, [], units=0), "")
