"""What a run measures of each claim: effects by data set, positive where they agree with the claim."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.aggregates import scale_of
from bench.analysis.reproduction.other_patients import (
    BlockWeights,
    contrast_left_out,
    jackknife_variance,
    ks_draws,
    with_patients,
)
from bench.cells.files import LEFT_OUT_PATIENTS
from bench.cells.predictions import Predictions
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.summary.draws import Comparison, ComparisonDraws, same_samples
from bench.summary.estimated_mean import (
    EstimatedMean,
    difference_of_rows,
    mean_of_row,
    mean_over_datasets,
)
from bench.summary.read import Results

EARLY, LATE = (1, 2), (3, 4)
BEFORE_LAST = (1, 2, 3)
CKA, KS = "cka_linear", "ks"
DRAWN = ("labelled_images", "labelled_validation_images")


@dataclass(frozen=True)
class Evidence:
    """What the measures read.

    Attributes:
        protocol: of the run.
        columns: the primary metric and its draws.
        results: of the run.
    """

    protocol: Protocol
    columns: Mapping[Comparison, ComparisonDraws]
    results: Results

    @property
    def table(self) -> pd.DataFrame:
        """The tidy table of all results."""
        return self.results.table

    @cached_property
    def of_seeds(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """Rows about feature reuse and KS distances, not about one class, by data set, method and metric."""
        of_shares = self.table[self.table["fraction"].notna()]  # the paper claims nothing about k-shot
        wanted = of_shares["metric"].isin([CKA, KS]) & (of_shares["class"] == "")
        groups = of_shares[wanted].groupby(["dataset", "method", "metric"], sort=False)
        return {(str(key[0]), str(key[1]), str(key[2])): rows for key, rows in groups}

    @cached_property
    def images_drawn(self) -> dict[tuple[str, float], str]:
        """The images that fine-tuning had of a share, as “12 + 2”, by data set and share."""
        finetuned = self.table[(self.table["evaluation"] == "finetune") & self.table["metric"].isin(DRAWN)]
        of_metric: dict[tuple[str, float], list[str]] = {}
        keys = ["dataset", "fraction", "metric"]
        for (dataset, fraction, _), values in finetuned.dropna(subset="value").groupby(keys)["value"]:
            ends = dict.fromkeys(f"{int(end):,}" for end in (values.min(), values.max()))
            # "labelled_images" comes before "labelled_validation_images".
            of_metric.setdefault((str(dataset), float(str(fraction))), []).append("–".join(ends))
        return {place: " + ".join(counts) for place, counts in of_metric.items()}

    def in_words(self, place: Comparison) -> str:
        """A column's share of the labels with the images drawn for it; empty for probes."""
        if place.labels is None:
            return ""
        drawn = self.images_drawn.get((place.dataset, place.labels.fraction or 0.0))
        return f"{place.labels.words} ({drawn} images)" if drawn else place.labels.words


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
        rows: what the estimate adds up by seed, on its scale: the values of a method, and those of the other,
            negative; empty where a result is missing.
        without_patients: why its interval is over seeds only; empty where it is over test patients as well.
    """

    dataset: str
    where: str
    estimate: EstimatedMean | None
    reason: str = ""
    scale: float = 1.0
    rows: tuple[tuple[float, ...], ...] = ()
    without_patients: str = ""

    @property
    def in_metric(self) -> EstimatedMean | None:
        """The estimate in the unit of the metric itself, as the paper reports it."""
        return self.estimate.scaled(1 / self.scale) if self.estimate else None


def mean_effect(effects: Sequence[Effect], in_metric: bool = False) -> EstimatedMean:
    """The mean of complete effects on different data sets.

    Args:
        effects: measured.
        in_metric: in the unit of the metrics and not on the common scale.
    """
    scales = [effect.scale if in_metric else 1.0 for effect in effects]
    return mean_over_datasets(
        [list(np.array(effect.rows) / scale) for effect, scale in zip(effects, scales, strict=True)],
        [
            effect.estimate.scaled(1 / scale)
            for effect, scale in zip(effects, scales, strict=True)
            if effect.estimate
        ],
    )


# A run, a data set, a method and the method it is compared with.
Measure = Callable[[Evidence, str, str, str], list[Effect]]


def gain_with_fewest_labels(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """Fine-tuning with the smallest fraction; a run without one below 100% cannot say."""
    labels = run.protocol.label_shares[0]
    if labels.is_everything:
        return [Effect(dataset, "", None, "no share of the labels below 100%")]
    return [_gain(run, [run.columns[Comparison(dataset, "finetune", labels, None)]], method, compared_with)]


def gain_everywhere(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """Fine-tuning with every share of the labels; the paper claims nothing about k-shot."""
    return [
        _gain(run, [run.columns[Comparison(dataset, "finetune", labels, None)]], method, compared_with)
        for labels in run.protocol.label_shares
    ]


def early_probe_gain(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """Probes of the blocks before the last, their mean; blocks of one encoder share seeds and patients."""
    columns = [run.columns[Comparison(dataset, "probe", None, block)] for block in BEFORE_LAST]
    return [_gain(run, columns, method, compared_with)]


def early_minus_late_similarity(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """CKA of blocks 1 and 2 minus that of blocks 3 and 4; the method alone, MoCo does not enter."""
    early, late = (_over_seeds(run, dataset, method, CKA, blocks) for blocks in (EARLY, LATE))
    reason = _without_all_seeds({method: early - late})
    # Both are of the same runs, so the difference is taken within each.
    if reason:
        return [Effect(dataset, "", None, reason)]
    effect = Effect(dataset, "", mean_of_row(early - late, [], units=0), rows=_by_seed(early - late))
    weights = {block: 1 / len(EARLY) for block in EARLY} | {block: -1 / len(LATE) for block in LATE}
    return [_over_patients(run, effect, {method: weights})]


def similarity_gain(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """CKA over all blocks."""
    blocks = (*EARLY, *LATE)
    values = {name: _over_seeds(run, dataset, name, CKA, blocks) for name in (method, compared_with)}
    mean = dict.fromkeys(blocks, 1 / len(blocks))
    minus = {block: -weight for block, weight in mean.items()}
    return [_over_patients(run, _difference(dataset, values), {method: mean, compared_with: minus})]


def ks_reduction(run: Evidence, dataset: str, method: str, compared_with: str) -> list[Effect]:
    """KS distance, the other's minus the method's: lower is better."""
    if run.protocol.label_fractions == [1]:
        return [Effect(dataset, "", None, "no share of the labels below 100%")]
    names = [compared_with, method]
    effect = _difference(dataset, {name: _over_seeds(run, dataset, name, KS, (None,)) for name in names})
    outputs = _finetuned(run, dataset, names)
    if effect.estimate is None or isinstance(outputs, str):
        return [replace(effect, without_patients=str(outputs) if effect.estimate else "")]
    is_binary = run.results.cards[dataset].task == "binary"
    first, second = (
        ks_draws(dataset, *outputs[name], is_binary, run.protocol.report.resamples) for name in names
    )
    patients = np.unique(outputs[method][0][0].patients).size
    variance = float((first - second).var(ddof=1))
    return [replace(effect, estimate=with_patients(effect.estimate, variance, patients))]


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


def _gain(run: Evidence, columns: Sequence[ComparisonDraws], method: str, compared_with: str) -> Effect:
    """Mean over columns of one data set of the primary metric's difference, on the common scale."""
    place, metric = columns[0].place, columns[0].metric
    where = run.in_words(place)
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
    scale = scale_of(metric)
    by_seed = _by_seed(scale * values[method], -scale * values[compared_with])
    return Effect(place.dataset, where, estimate.scaled(scale), scale=scale, rows=by_seed)


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
    """The first method minus the second, from one value per seed; patients are no part of it yet."""
    reason = _without_all_seeds(values)
    first, second = values.values()
    if reason:
        return Effect(dataset, "", None, reason)
    return Effect(dataset, "", difference_of_rows(first, second, [], units=0), rows=_by_seed(first, -second))


def _by_seed(*rows: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row.tolist()) for row in rows)


def _over_patients(run: Evidence, effect: Effect, weights: Mapping[str, BlockWeights]) -> Effect:
    """An effect on CKA with the patients' part of its interval, where the cells hold what it takes."""
    if effect.estimate is None:
        return effect
    labels = [labels.id for labels in run.protocol.label_shares]
    contrasts: list[NDArray[np.float64]] = []
    patients: list[NDArray[np.str_]] = []
    for method, of_blocks in weights.items():
        cells = [
            run.results.left_out.get(Cell("reuse", effect.dataset, method, seed))
            for seed in run.protocol.seeds
        ]
        contrast = contrast_left_out(cells, labels, of_blocks)
        if isinstance(contrast, str):
            return replace(effect, without_patients=f"{method}: {contrast}")
        contrasts.append(contrast)
        patients += [cell[LEFT_OUT_PATIENTS] for cell in cells if cell is not None]
    if not all(np.array_equal(of_cell, patients[0]) for of_cell in patients):
        return replace(effect, without_patients="features of other patients")
    variance = jackknife_variance(np.sum(contrasts, axis=0))
    return replace(effect, estimate=with_patients(effect.estimate, variance, patients[0].size))


# Outputs with few labels, and beside each those with all labels of the same seed.
Pairs = tuple[list[Predictions], list[Predictions]]


def _finetuned(run: Evidence, dataset: str, methods: Sequence[str]) -> dict[str, Pairs] | str:
    """The outputs whose distances are measured, by method; or why they cannot be resampled."""
    *smaller, everything = run.protocol.label_shares
    outputs: dict[str, Pairs] = {}
    for method in methods:
        pairs = [
            [
                run.results.predictions.get((Cell("finetune", dataset, method, seed, labels), None))
                for labels in (few, everything)
            ]
            for seed in run.protocol.seeds
            for few in smaller
        ]
        complete = [(few, every) for few, every in pairs if few is not None and every is not None]
        if len(complete) < len(pairs):
            return f"{method}: predictions are missing"
        outputs[method] = [few for few, _ in complete], [every for _, every in complete]
    first = outputs[methods[0]][0][0]
    if not all(same_samples(known, first) for pair in outputs.values() for side in pair for known in side):
        return "tested on other samples"
    return outputs


def _without_all_seeds(values: dict[str, NDArray[np.float64]]) -> str:
    lacking = [name for name, row in values.items() if np.isnan(row).any()]
    return f"no result of every seed: {', '.join(lacking)}" if lacking else ""
