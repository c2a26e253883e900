"""The primary metric by subgroup of the test images: by sex, age, view or whatever else is known of them.

A patient is drawn with all their images, in all of their subgroups at once, so that the gap between two
subgroups is uncertain only as far as their patients differ.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from bench.analysis.row_models import Number, RowModel
from bench.cells.predictions import Predictions
from bench.protocol.stage_specs import CELL_STAGES, STAGES
from bench.summary.bootstrap import CHUNK, bootstrap_seed, percentile_interval, resample_counts
from bench.summary.draws import code_digest
from bench.summary.draws_cache import kept_arrays
from bench.summary.summary import Summary, complete_runs
from imssl.datasets.prepared import Card
from imssl.metrics import statistic
from imssl.subgroups import Subgroup, subgroups_of

# With fewer patients an interval says hardly more than that anything is possible.
LEAST_PATIENTS = 10
# The evaluations that there are with all labels as one set of predictions.
EVALUATIONS = tuple(stage for stage in CELL_STAGES if STAGES[stage].per_label_set)

Array = NDArray[np.float64]


class SubgroupRow(RowModel):
    """One method in one subgroup of a data set's test images, with all labels."""

    dataset: str = Field(description="id of the data set")
    evaluation: str = Field(description="finetune, frozen or knn")
    metric: str = Field(description="the data set's primary metric")
    attribute: str = Field(description="what the test images are told apart by, such as sex")
    subgroup: str = Field(description="its value, or range of values; 'not given' where there is none")
    method: str = Field(description="id of the method")
    patients: int = Field(description="test patients with an image in the subgroup; images, without patients")
    images: int = Field(description="test images in the subgroup")
    value: Number = Field(description="of the metric, mean over seeds; NaN where the reason says why")
    low: Number = Field(description="lower end of its interval at the protocol's level, over test patients")
    high: Number = Field(description="upper end")
    reason: str = Field(description="why there is no value; empty otherwise")


class SubgroupGapRow(RowModel):
    """The largest gap between two subgroups that one method leaves."""

    dataset: str = Field(description="id of the data set")
    evaluation: str = Field(description="finetune, frozen or knn")
    metric: str = Field(description="the data set's primary metric")
    attribute: str = Field(description="what the test images are told apart by, such as sex")
    method: str = Field(description="id of the method")
    highest: str = Field(description="subgroup with the highest value; empty without two to compare")
    lowest: str = Field(description="subgroup with the lowest value")
    gap: Number = Field(description="the one minus the other; of many subgroups it is large by luck as well")
    low: Number = Field(
        description="lower end of the interval of the difference of these two, over test patients; not "
        "corrected for their having been picked"
    )
    high: Number = Field(description="upper end")
    reason: str = Field(description="why there is no gap; empty otherwise")


@dataclass(frozen=True)
class _Judged:
    """One method in one subgroup: mean over seeds on the test images, and on resamples of patients."""

    value: float
    draws: Array


@dataclass(frozen=True)
class SubgroupRows:
    """Rows of one data set.

    Attributes:
        subgroups: as SubgroupRow.
        gaps: as SubgroupGapRow.
    """

    subgroups: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)


def subgroup_rows(summary: Summary, dataset: str) -> SubgroupRows:
    """Every method in every subgroup of a data set with attributes, and the largest gaps.

    Subgroups with fewer than LEAST_PATIENTS patients, or in which the metric is undefined because there is
    one class only, have a row that says so and no number.
    """
    attributes, card = summary.results.attributes[dataset], summary.results.cards[dataset]
    draws, rows = _PatientDraws(card, summary.protocol.report.resamples), SubgroupRows()
    for evaluation in EVALUATIONS:
        runs = complete_runs(summary, dataset, evaluation, list(summary.protocol.methods))
        if not runs:
            continue
        evaluated = _Evaluated(card, runs, draws)
        for attribute in attributes.columns:
            texts = attributes[attribute].reindex(evaluated.samples.ids).fillna("").tolist()
            facts = {
                "dataset": dataset,
                "evaluation": evaluation,
                "metric": card.primary_metric,
                "attribute": attribute,
            }
            _add_rows(rows, facts, subgroups_of(attribute, texts), evaluated, summary.protocol.report.level)
    return rows


def subgroup_tables(of_datasets: Iterable[SubgroupRows]) -> dict[str, pd.DataFrame]:
    """``subgroups``, rows as SubgroupRow, and ``subgroup_gaps``, rows as SubgroupGapRow, of all data sets."""
    parts = list(of_datasets)
    return {
        "subgroups": SubgroupRow.table([row for part in parts for row in part.subgroups]),
        "subgroup_gaps": SubgroupGapRow.table([row for part in parts for row in part.gaps]),
    }


def _add_rows(
    rows: SubgroupRows,
    facts: Mapping[str, str],
    groups: Sequence[Subgroup],
    evaluated: "_Evaluated",
    level: float,
) -> None:
    """Add the rows of one attribute of a data set and evaluation: of its subgroups, and of the gaps."""
    judged = dict[tuple[str, str], _Judged]()
    for group in groups:
        counted: dict[str, Any] = {
            "subgroup": group.name,
            "patients": np.unique(evaluated.samples.patients[group.rows]).size,
            "images": group.rows.size,
        }
        for method in evaluated.runs:
            row: dict[str, Any] = {**facts, **counted, "method": method, "reason": ""}
            rows.subgroups.append(row)
            if counted["patients"] < LEAST_PATIENTS:
                row["reason"] = f"too small: fewer than {LEAST_PATIENTS} patients"
                continue
            in_group = evaluated.judged(method, group.rows)
            if np.isnan(in_group.value):
                row["reason"] = "too small: the metric is undefined, as with one class only"
                continue
            low, high = percentile_interval(in_group.draws, level)
            row |= {"value": in_group.value, "low": low, "high": high}
            judged[method, group.name] = in_group
    rows.gaps.extend(
        {**facts, "method": method} | _gap({g: j for (m, g), j in judged.items() if m == method}, level)
        for method in evaluated.runs
    )


def _gap(judged: Mapping[str, _Judged], level: float) -> dict[str, Any]:
    if len(judged) < 2:
        return {"highest": "", "lowest": "", "reason": "fewer than two subgroups are large enough"}
    highest = max(judged, key=lambda name: judged[name].value)
    lowest = min(judged, key=lambda name: judged[name].value)
    low, high = percentile_interval(judged[highest].draws - judged[lowest].draws, level)
    gap = judged[highest].value - judged[lowest].value
    return {"highest": highest, "lowest": lowest, "gap": gap, "low": low, "high": high, "reason": ""}


class _PatientDraws:
    """How often each patient of the test images is drawn in each resample; drawn when first needed."""

    def __init__(self, card: Card, resamples: int) -> None:
        self.seed, self.resamples = bootstrap_seed(card.name), resamples
        self._ids = np.empty(0, dtype=str)
        self._times = np.empty((0, 0), dtype=np.uint8)

    def counts(self, patients: NDArray[Any], rows: NDArray[np.int64]) -> Iterator[NDArray[np.int32]]:
        """The draws of some samples, (R, n) for the next R resamples; patients, (N,), are those of all.

        All patients are drawn, so that every subgroup of a resample is of the same ones.
        """
        ids, patient = np.unique(patients, return_inverse=True)
        if not np.array_equal(ids, self._ids):
            times = np.concatenate(list(resample_counts(ids, self.resamples, self.seed)))
            self._ids, self._times = ids, times.astype(np.min_scalar_type(times.max()))
        step = max(1, CHUNK // rows.size)
        for start in range(0, self.resamples, step):
            yield self._times[start : start + step, patient[rows]].astype(np.int32)


class _Evaluated:
    """All methods' predictions of one evaluation on a data set, which are hashed once.

    Args:
        card: of the data set.
        runs: predictions of every seed by method, at least one, all of the same images.
        draws: of its patients.
    """

    def __init__(self, card: Card, runs: Mapping[str, list[Predictions]], draws: _PatientDraws) -> None:
        self.card, self.runs, self._draws = card, runs, draws
        self.samples = next(iter(runs.values()))[0]
        names = np.char.encode(self.samples.patients.astype(str), "utf-8")
        self._samples_digest = _digest(self.samples.labels, names)
        self._digests = {method: _digest(*(run.probabilities for run in runs[method])) for method in runs}

    def judged(self, method: str, rows: NDArray[np.int64]) -> _Judged:
        """The mean over seeds on some test images, with its draws; from the cache where possible."""
        values = kept_arrays(self._key(method, rows), lambda: self._means(method, rows))
        return _Judged(float(values[0]), values[1:])

    def _means(self, method: str, rows: NDArray[np.int64]) -> Array:
        """(1 + R,) on the images as they are, and on each resample."""
        card, runs = self.card, self.runs[method]
        once = np.ones((1, rows.size), dtype=np.int32)
        counts = [once, *self._draws.counts(self.samples.patients, rows)]
        means = np.zeros(1 + self._draws.resamples)
        for run in runs:
            metric = statistic(card.primary_metric, card.task, run.labels[rows], run.probabilities[rows])
            means += np.concatenate([metric(c) for c in counts]) / len(runs)
        return means

    def _key(self, method: str, rows: NDArray[np.int64]) -> str:
        drawn = f"{self._draws.seed} {self._draws.resamples}"
        words = [_code(), self.card.task, self.card.primary_metric, drawn, _digest(rows)]
        words += [self._samples_digest, self._digests[method]]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()


@cache
def _code() -> str:
    """Digest of the code that decides a draw."""
    return hashlib.sha256(code_digest().encode() + Path(__file__).read_bytes()).hexdigest()


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
