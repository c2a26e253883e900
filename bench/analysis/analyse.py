"""The one entry to the analysis: from a run's summary to every table that the pages show."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from bench.analysis.aggregates import aggregate_table
from bench.analysis.differences import paired_differences
from bench.analysis.label_efficiency import label_budgets, label_efficiency, validation_means
from bench.analysis.ranks import rank_table
from bench.analysis.reproduction.claims import claim_tables
from bench.analysis.reproduction.ledger import ledger_table
from bench.cells.method_facts import reference_methods
from bench.machine.workers import side_by_side
from bench.summary.summary import Summary


@dataclass(frozen=True)
class Analysis:
    """Every table of the analysis; what their columns mean stands beside the function that makes them.

    Attributes:
        ranks: where every method stands in every column of the leaderboard, see ranks.RankRow.
        differences: every method against the protocol's baseline, see differences.DifferenceRow.
        aggregates: every method over all data sets, see aggregates.AggregateRow.
        label_efficiency: what labels are worth, see label_efficiency.LabelEfficiencyRow.
        claims: the paper's claims and their verdicts, see reproduction.claims.ClaimRow.
        claim_effects: the effects behind the verdicts, see reproduction.claims.ClaimEffectRow.
        ledger: how this run differs from the paper and its released code, see reproduction.ledger.LedgerRow.
    """

    ranks: pd.DataFrame
    differences: pd.DataFrame
    aggregates: pd.DataFrame
    label_efficiency: pd.DataFrame
    claims: pd.DataFrame
    claim_effects: pd.DataFrame
    ledger: pd.DataFrame


def analyse(summary: Summary) -> Analysis:
    """Analyse a run; holes stay holes."""
    protocol, settings = summary.protocol, summary.protocol.report
    columns, methods = list(summary.columns.values()), list(protocol.methods)
    references, budgets = reference_methods(protocol), label_budgets(summary)
    # The longest first, as they are made side by side.
    tables: list[Callable[[], dict[str, pd.DataFrame]]] = [
        lambda: {"aggregates": aggregate_table(columns, methods, settings, references)},
        lambda: {"ranks": rank_table(columns, methods, settings, references)},
        lambda: {"differences": paired_differences(columns, methods, settings, references)},
        lambda: {
            "label_efficiency": label_efficiency(
                columns, methods, settings, references, budgets, validation_means(summary)
            )
        },
        lambda: claim_tables(summary),
        lambda: {"ledger": ledger_table(protocol, summary.results.cards)},
    ]
    return Analysis(**{name: table for made in side_by_side(tables) for name, table in made.items()})
