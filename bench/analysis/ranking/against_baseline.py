"""Which methods differ from the baseline, when a whole table of them is looked at.

The largest of all statistics of the table, as it would be if no method differed from the baseline anywhere,
is what each is held against (Westfall & Young 1993, section 2.3: single-step min P). Columns are simulated
independently: those of a data set share patients and seeds, so their statistics are large together, and the
largest of them is rather smaller than this takes it for.
"""

from collections.abc import Sequence

import numpy as np

from bench.analysis.ranking.by_chance import SIMULATIONS, PairsOfRows, adjusted_p, generator_of
from bench.summary.draws import Comparison, ComparisonDraws


def corrected_p_values(
    columns: Sequence[ComparisonDraws], methods: Sequence[str], baseline: str
) -> dict[tuple[Comparison, str], float]:
    """p-values of no difference to the baseline, corrected for the whole table.

    Args:
        columns: of one evaluation, with two seeds or more.
        methods: that are tested.
        baseline: what they are compared with.

    Returns:
        By column and method, for those that have results of every seed: below a, the family-wise error is a.
    """
    largest = np.zeros(SIMULATIONS)
    statistics: dict[tuple[Comparison, str], float] = {}
    for column in columns:
        tested = [name for name in methods if name in column.methods and name != baseline]
        if baseline not in column.methods or not tested:
            continue
        rows = [column.methods.index(name) for name in (baseline, *tested)]
        pairs = np.stack([np.zeros(len(tested), dtype=int), np.arange(1, len(rows))])
        table = PairsOfRows(column.values[rows], column.mean_draws[rows], column.units, pairs)
        by_chance = table.largest_by_chance(generator_of("against the baseline", column.place))
        largest = np.maximum(largest, by_chance)
        statistics |= {
            (column.place, name): float(statistic)
            for name, statistic in zip(tested, table.statistics(), strict=True)
        }
    ascending = np.sort(largest)
    p_values = adjusted_p(np.array(list(statistics.values())), ascending)
    return dict(zip(statistics, p_values.tolist(), strict=True))
