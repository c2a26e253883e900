"""Statistics over the cells of a run: tables and arrays in, tables and numbers out; no files.

Nothing is averaged over a hole: a mean needs a defined value from every seed of the protocol.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.intervals import Interval, bootstrap, percentile_interval
from bench.results import Predictions
from imssl.datasets.source import Task
from imssl.metrics import Metric, metric_value

# What tells one measurement from another, apart from the seed.
MEASUREMENT = ["dataset", "method", "evaluation", "fraction", "block", "class", "metric"]
# The same without the method: the measurements that are compared with one another.
COMPARISON = [name for name in MEASUREMENT if name != "method"]


def over_seeds(table: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    """Mean and range over the seeds of every measurement.

    Args:
        table: tidy rows, see bench.report.tidy.COLUMNS; rows without a metric are left out.
        seeds: of the protocol.

    Returns:
        One row per measurement, in the order of first appearance: its columns (MEASUREMENT), ``found``
        (seeds with a defined value), ``expected`` (seeds of the protocol), and ``mean``, ``lowest`` and
        ``highest``, which are NaN unless every seed has a defined value.
    """
    measured = table[(table["metric"] != "") & table["seed"].isin(list(seeds))]
    groups = measured.groupby(MEASUREMENT, sort=False, dropna=False)["value"]
    summary = groups.agg(found="count", mean="mean", lowest="min", highest="max").reset_index()
    summary["expected"] = len(seeds)
    incomplete = summary["found"] < len(seeds)
    summary.loc[incomplete, ["mean", "lowest", "highest"]] = np.nan
    return summary


def with_best(summary: pd.DataFrame) -> pd.DataFrame:
    """Mark the highest mean of each comparison; equal means share the mark.

    Args:
        summary: as from :func:`over_seeds`.

    Returns:
        The same rows with a column ``best``; False where there is no mean.
    """
    highest = summary.groupby(COMPARISON, sort=False, dropna=False)["mean"].transform("max")
    return summary.assign(best=summary["mean"].notna() & (summary["mean"] == highest))


def seed_mean_interval(
    runs: Sequence[Predictions],
    task: Task,
    metric: Metric,
    resamples: int,
    seed: int,
    level: float,
) -> Interval:
    """A metric's mean over seeds with its interval over the test patients.

    Every resample draws patients with replacement, once for all seeds, and averages the metric over the
    seeds; the interval is the equal-tailed percentiles of these averages (Efron & Tibshirani 1993, section
    13.3). It says how much the mean would move with other patients, not with other seeds.

    Args:
        runs: predictions of each seed on the same test samples in the same order.
        task: kind of task.
        metric: name of the metric.
        resamples: number of resamples.
        seed: of the resampling; methods that share it are resampled alike.
        level: nominal coverage, for example 0.95.

    Returns:
        The interval. A resample in which the metric is undefined for any seed is left out and counted.

    Raises:
        ValueError: no runs, or runs on different samples.
    """
    if not runs:
        raise ValueError("an interval over seeds needs the predictions of one seed at least")
    first = runs[0]
    for run in runs[1:]:
        if not (np.array_equal(run.ids, first.ids) and np.array_equal(run.labels, first.labels)):
            raise ValueError("the seeds were tested on different samples or labels")
    values = [metric_value(metric, task, run.labels, run.probabilities) for run in runs]
    draws = [
        bootstrap(task, run.labels, run.probabilities, first.patients, metric, resamples, seed)
        for run in runs
    ]
    averages = np.mean(draws, axis=0)
    low, high = percentile_interval(averages, level)
    defined = [value for value in values if value is not None]
    units = np.unique(first.patients).size
    return Interval(
        value=float(np.mean(defined)) if len(defined) == len(runs) else None,
        low=low,
        high=high,
        level=level,
        resamples=resamples,
        undefined=int(np.isnan(averages).sum()),
        unit="samples" if units == first.patients.size else "patients",
        units=units,
    )


def undefined_classes(table: pd.DataFrame) -> pd.DataFrame:
    """The classes whose AUROC is undefined on the test images: all of them agree about the class.

    Args:
        table: tidy rows, see bench.report.tidy.COLUMNS.

    Returns:
        Columns ``dataset`` and ``class``, one row each.
    """
    per_class = table[(table["metric"] == "auroc") & (table["class"] != "") & table["value"].isna()]
    return per_class[["dataset", "class"]].drop_duplicates().reset_index(drop=True)


def curve_means(histories: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    """Mean over the seeds of every quantity at every epoch of pretraining.

    Args:
        histories: columns dataset, method, seed, epoch, and one per quantity.
        seeds: of the protocol.

    Returns:
        Columns dataset, method, epoch, quantity, mean; only where every seed has a value.
    """
    keys = ["dataset", "method", "epoch"]
    quantities = [name for name in histories.columns if name not in (*keys, "seed")]
    if histories.empty or not quantities:
        return pd.DataFrame(columns=[*keys, "quantity", "mean"])
    long = histories.melt([*keys, "seed"], quantities, var_name="quantity").dropna(subset="value")
    groups = long.groupby([*keys, "quantity"], sort=False)["value"].agg(["count", "mean"]).reset_index()
    return groups[groups["count"] == len(seeds)].drop(columns="count").reset_index(drop=True)
