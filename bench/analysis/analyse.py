"""The one entry to the analysis: from a run's summary to every table that the pages show."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.aggregates import aggregate_table
from bench.analysis.differences import paired_differences
from bench.analysis.label_efficiency import label_budgets, label_efficiency, validation_means
from bench.analysis.ranking.against_untrained import score_differences, untrained_differences
from bench.analysis.ranking.ranks import rank_table
from bench.analysis.ranking.standings import standing_table
from bench.analysis.reproduction.claims import claim_tables
from bench.analysis.reproduction.ledger import ledger_table
from bench.analysis.subgroups import subgroup_rows, subgroup_tables
from bench.cells.method_facts import reference_methods, untrained_methods
from bench.machine.workers import side_by_side
from bench.summary.summary import Summary


@dataclass(frozen=True)
class Analysis:
    """Every table of the analysis; what their columns mean stands beside the function that makes them.

    Attributes:
        standings: who is ahead over all data sets, see standings.StandingRow.
        ranks: where every method stands in every column of the leaderboard, see ranks.RankRow.
        differences: every method against the protocol's baseline, see differences.DifferenceRow.
        untrained_differences: every method against the stronger untrained reference, likewise.
        score_differences: mean scores over all data sets against those of the references, likewise.
        aggregates: every method over all data sets, see aggregates.AggregateRow.
        label_efficiency: what labels are worth, see label_efficiency.LabelEfficiencyRow.
        claims: the paper's claims and their verdicts, see reproduction.claims.ClaimRow.
        claim_effects: the effects behind the verdicts, see reproduction.claims.ClaimEffectRow.
        subgroups: every method in every subgroup of the test images, see subgroups.SubgroupRow.
        subgroup_gaps: the largest gaps between them, see subgroups.SubgroupGapRow.
        ledger: how this run differs from the paper and its released code, see reproduction.ledger.LedgerRow.
    """

    standings: pd.DataFrame
    ranks: pd.DataFrame
    differences: pd.DataFrame
    untrained_differences: pd.DataFrame
    score_differences: pd.DataFrame
    aggregates: pd.DataFrame
    label_efficiency: pd.DataFrame
    claims: pd.DataFrame
    claim_effects: pd.DataFrame
    subgroups: pd.DataFrame
    subgroup_gaps: pd.DataFrame
    ledger: pd.DataFrame


def analyse(summary: Summary) -> Analysis:
    """Analyse a run; holes stay holes."""
    protocol, settings = summary.protocol, summary.protocol.report
    columns, methods = list(summary.columns.values()), list(protocol.methods)
    references, budgets = reference_methods(protocol), label_budgets(summary)
    untrained = untrained_methods(protocol)
    trained = [name for name in references if name not in untrained]
    validation = validation_means(summary)
    against_references = columns, methods, settings, untrained, trained, validation
    # The longest first, as they are made side by side.
    subgroups = [partial(subgroup_rows, summary, dataset) for dataset in summary.results.attributes]
    ranks = [
        partial(rank_table, [c for c in columns if c.place.dataset == dataset], methods, settings, references)
        for dataset in protocol.datasets
    ]
    tables: list[Callable[[], dict[str, pd.DataFrame]]] = [
        lambda: {"differences": paired_differences(columns, methods, settings, references)},
        lambda: {"untrained_differences": untrained_differences(*against_references)},
        lambda: {"aggregates": aggregate_table(columns, methods, settings, references)},
        lambda: {"standings": standing_table(columns, methods, settings, references)},
        lambda: {"score_differences": score_differences(*against_references)},
        lambda: {
            "label_efficiency": label_efficiency(
                columns, methods, settings, untrained, budgets, validation, trained
            )
        },
        lambda: claim_tables(summary),
        lambda: {"ledger": ledger_table(protocol, summary.results.cards)},
    ]
    tasks: list[Callable[[], Any]] = [*subgroups, *ranks, *tables]
    made = iter(side_by_side(tasks))
    of_subgroups, of_datasets = [next(made) for _ in subgroups], [next(made) for _ in ranks]
    named = [subgroup_tables(of_subgroups), {"ranks": pd.concat(of_datasets, ignore_index=True)}, *made]
    return Analysis(**{name: table for part in named for name, table in part.items()})
