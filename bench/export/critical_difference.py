"""Critical-difference diagrams: mean ranks over data sets, and who cannot be told apart (Demsar 2006).

A data set is one block, with the mean over its label sets (or blocks of the encoder): its columns share
patients and encoders, and would count as independent data sets otherwise.
"""

import io
from dataclasses import dataclass

import matplotlib
import pandas as pd
import scikit_posthocs
from matplotlib.figure import Figure

from bench.report.layout import EVALUATION_NAMES, listed, number
from bench.report.material.wording import few_seeds_words
from bench.report.view import View

LEAST_DATASETS, LEAST_METHODS = 2, 2
INCHES = 7.5


@dataclass(frozen=True)
class CriticalDifference:
    """The ranks behind a diagram.

    Attributes:
        evaluation: its id.
        scores: means of the primary metric, a row per data set and a column per method.
        mean_ranks: by method; 1 is best.
        p_values: of Nemenyi's test, methods by methods.
        alpha: below which two methods are told apart.
        left_out: methods that lack a result.
    """

    evaluation: str
    scores: pd.DataFrame
    mean_ranks: pd.Series
    p_values: pd.DataFrame
    alpha: float
    left_out: tuple[str, ...]

    @property
    def title(self) -> str:
        """What the diagram shows."""
        count = len(self.scores)
        words = f"{EVALUATION_NAMES[self.evaluation]}: mean rank over {count} data sets"
        return f"{words}; joined: not told apart (Nemenyi, α = {number(self.alpha, 2)})"

    @property
    def table(self) -> pd.DataFrame:
        """The numbers: a row per method, with its p against every other."""
        p_values = self.p_values.add_prefix("p against ")
        return pd.concat([self.mean_ranks.rename("mean_rank"), p_values], axis=1).rename_axis("method")


def critical_difference(view: View, evaluation: str) -> CriticalDifference | str:
    """Ranks of the methods over data sets, by Friedman's blocks and Nemenyi's test.

    Args:
        view: of the run.
        evaluation: its id.

    Returns:
        The ranks; or in a sentence why there are none.
    """
    seeds, settings = view.summary.protocol.seeds, view.summary.protocol.report
    none = f"{EVALUATION_NAMES[evaluation]}: no critical-difference diagram"
    if len(seeds) < settings.least_seeds:
        return f"{none}: {few_seeds_words(len(seeds), settings)}"
    ranks = view.analysis.ranks
    ranked = ranks[(ranks["evaluation"] == evaluation) & ~ranks["reference"]]
    # A mean over some of the columns would compare unlike things.
    means = ranked.groupby(["dataset", "method"], sort=False)["mean"].agg(
        lambda column: column.mean(skipna=False)
    )
    scores = means.unstack("method").reindex(index=list(view.summary.protocol.datasets))
    complete = scores.dropna(axis="columns")
    complete = complete[[method for method in view.methods if method in complete]]
    if len(scores) < LEAST_DATASETS or complete.shape[1] < LEAST_METHODS:
        return (
            f"{none}, which needs {LEAST_DATASETS} data sets or more and {LEAST_METHODS} methods with "
            "results on all of them"
        )
    return CriticalDifference(
        evaluation=evaluation,
        scores=complete,
        mean_ranks=complete.rank(axis="columns", ascending=False).mean(),
        p_values=scikit_posthocs.posthoc_nemenyi_friedman(complete),
        alpha=1 - settings.level,
        left_out=tuple(scores.columns.difference(complete.columns)),
    )


def drawing(difference: CriticalDifference, kind: str) -> bytes:
    """The diagram as a file; equal ranks give equal bytes.

    Args:
        difference: from critical_difference.
        kind: svg or png.
    """
    figure = Figure(figsize=(INCHES, 1.2 + 0.22 * len(difference.mean_ranks)), layout="constrained")
    axes = figure.add_subplot()
    scikit_posthocs.critical_difference_diagram(
        difference.mean_ranks, difference.p_values, alpha=difference.alpha, ax=axes
    )
    words = difference.title
    if difference.left_out:
        words += f"\nNot drawn, for want of results: {listed(difference.left_out)}"
    axes.set_title(words, fontsize=9)
    file = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": difference.evaluation, "svg.fonttype": "none"}):
        figure.savefig(file, format=kind, metadata=metadata, dpi=200)
    return file.getvalue()
