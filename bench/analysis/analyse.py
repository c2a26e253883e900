"""The one entry to the analysis: from a run's summary to every table that the pages show."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from bench.analysis.aggregates import aggregate_table
from bench.analysis.claims import claim_table
from bench.analysis.differences import paired_differences
from bench.analysis.label_efficiency import label_efficiency
from bench.analysis.ledger import ledger_table
from bench.analysis.paper import methods_of
from bench.analysis.ranks import rank_table
from bench.machine.workers import side_by_side
from bench.summary.summary import Summary


@dataclass(frozen=True)
class Analysis:
    """Every table of the analysis; what their columns mean stands beside the function that makes them.

    Attributes:
        ranks: where every method stands in every column of the leaderboard, see ranks.RANKS.
        differences: every method against the protocol's baseline, see differences.DIFFERENCES.
        aggregates: every method over all data sets, see aggregates.AGGREGATES.
        label_efficiency: what labels are worth, see label_efficiency.LABEL_EFFICIENCY.
        claims: the paper's claims and their verdicts, see claims.CLAIMS.
        ledger: how this run differs from the paper and its released code, see ledger.LEDGER.
    """

    ranks: pd.DataFrame
    differences: pd.DataFrame
    aggregates: pd.DataFrame
    label_efficiency: pd.DataFrame
    claims: pd.DataFrame
    ledger: pd.DataFrame


def analyse(summary: Summary) -> Analysis:
    """Analyse a run; holes stay holes."""
    protocol, cards = summary.protocol, summary.results.cards
    columns, methods = list(summary.columns.values()), list(protocol.methods)
    baseline, level = protocol.report.baseline, protocol.report.level
    untrained: Iterable[str] = methods_of(protocol, "random_init")
    images = {dataset: card.counts["train"].samples for dataset, card in cards.items()}
    # The longest first, as they are made side by side.
    tables: dict[str, Callable[[], pd.DataFrame]] = {
        "aggregates": lambda: aggregate_table(columns, methods, baseline, level),
        "ranks": lambda: rank_table(columns, methods, level),
        "differences": lambda: paired_differences(columns, methods, baseline, level),
        "label_efficiency": lambda: label_efficiency(
            columns, methods, next(iter(untrained), None), images, level
        ),
        "claims": lambda: claim_table(summary),
        "ledger": lambda: ledger_table(protocol, cards),
    }
    return Analysis(**dict(zip(tables, side_by_side(list(tables.values())), strict=True)))
