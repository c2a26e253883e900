"""Statistics over the cells of a run: tables and arrays in, tables and numbers out; no files.

Nothing is averaged over a hole: a mean needs a defined value from every seed of the protocol.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.protocol.label_columns import LABEL_COLUMNS

# What distinguishes one measurement from another, apart from the seed.
MEASUREMENT = ["dataset", "method", "evaluation", *LABEL_COLUMNS, "block", "class", "metric"]


class OverSeeds(NamedTuple):
    """One measurement over the seeds; columns as `over_seeds`."""

    found: int
    expected: int
    mean: float
    lowest: float
    highest: float


def too_few_seeds(seeds: int, least_seeds: int) -> str:
    """Why a number of seeds below the least shows no mark and no verdict, in a sentence."""
    least = "three" if least_seeds == 3 else f"{least_seeds}"
    shown = {
        1: "One seed cannot show how much seeds differ",
        2: "Two seeds show roughly how much seeds differ",
    }.get(seeds, f"{seeds} seeds are fewer than this protocol asks for")
    return f"{shown}; {least} are the least for a mark or a verdict."


def over_seeds(table: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    """Mean and range over the seeds of every measurement.

    Args:
        table: tidy rows, see bench.summary.tidy.COLUMNS; rows without a metric are left out.
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


def undefined_classes(table: pd.DataFrame) -> pd.DataFrame:
    """The classes whose AUROC is undefined on the test images: all of them agree about the class.

    Args:
        table: tidy rows, see bench.summary.tidy.COLUMNS.

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
