"""Which methods of a table cannot be told from the best, when the best was picked by looking at the table.

Testing every method against the one with the highest mean, as if that one had been named beforehand, errs in
one table of ten and more: the highest mean of many is high by luck as well. So all pairs are compared, and
the largest of all their statistics, as it would be if no two methods differed, is what each is held against
(Westfall & Young 1993, section 2.3: single-step min P); by_chance simulates it. A method is out once any
other is better beyond doubt. The error is family-wise over the table: in at most 1 - level of tables is any
of the truly best methods out. Multiple comparisons with the best (Hsu 1984) promise less, that one given best
method stays in, and would mark equal methods apart.
"""

import numpy as np

from bench.analysis.ranking.by_chance import Array, PairsOfRows, adjusted_p, generator_of
from bench.summary.draws import ComparisonDraws


def p_of_being_best(column: ComparisonDraws, methods: list[str]) -> Array:
    """How well the data agree with each method being among the best of some.

    Args:
        column: of the leaderboard, with two seeds or more.
        methods: M of its methods.

    Returns:
        (M,) the smallest adjusted p-value of a pair in which the method has the lower mean; 1 for the best.
    """
    rows = [column.methods.index(method) for method in methods]
    p_values = np.ones(len(rows))
    if len(rows) < 2:
        return p_values
    first, second = every_pair = np.stack(np.triu_indices(len(rows), 1))
    table = PairsOfRows(column.values[rows], column.mean_draws[rows], column.units, every_pair)
    largest = np.sort(table.largest_by_chance(generator_of("best of many", column.place)))
    worse = np.where(table.means[first] < table.means[second], first, second)
    differ = table.means[first] != table.means[second]
    np.minimum.at(p_values, worse[differ], adjusted_p(table.statistics(), largest)[differ])
    return p_values
