"""Better than no pretraining: every method minus the stronger of the untrained references, column by column.

An untrained encoder is two references, as initialised and with its batch norm filled, and neither is the
stronger one everywhere. Which of them counts in a column is chosen on validation images: chosen on those of
the test, the higher of the two would be high by luck as well.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bench.analysis.aggregates import lacking
from bench.analysis.differences import DifferenceRow, paired_differences
from bench.analysis.label_efficiency import ValidationMeans, stronger_reference
from bench.analysis.ranking.standings import over_all
from bench.protocol.protocol import ReportSettings
from bench.summary.draws import ComparisonDraws

# Stands for the chosen reference of each column; no id of a method has spaces.
STRONGER = "the stronger untrained reference"


def untrained_differences(
    columns: Iterable[ComparisonDraws],
    methods: Sequence[str],
    settings: ReportSettings,
    untrained: Sequence[str],
    trained: Sequence[str],
    validation: ValidationMeans,
) -> pd.DataFrame:
    """Every method minus the stronger untrained reference, in every column.

    Args:
        columns: of the leaderboard.
        methods: of the protocol.
        settings: as for `paired_differences`; its baseline is not used.
        untrained: references whose weights nobody has trained.
        trained: the other references, which are shown but not tested.
        validation: means of the untrained references, by which the stronger one is chosen.

    Returns:
        A row as DifferenceRow per column and method, whose baseline is the reference that was chosen; tested
        and corrected as the differences to the baseline are. Without untrained references there are no rows.
    """
    if not untrained:
        return DifferenceRow.table([])
    compared = [name for name in methods if name not in untrained]
    columns = list(columns)
    table = paired_differences(
        [with_stronger(column, untrained, validation) for column in columns],
        compared,
        against(settings, STRONGER),
        trained,
    )
    chosen = [stronger_reference(column, untrained, validation).method for column in columns]
    # A column has a row for each method.
    return table.assign(baseline=np.repeat(np.array(chosen, dtype=object), len(compared)))


def score_differences(
    columns: Iterable[ComparisonDraws],
    methods: Sequence[str],
    settings: ReportSettings,
    untrained: Sequence[str],
    trained: Sequence[str],
    validation: ValidationMeans,
) -> pd.DataFrame:
    """The mean score of every method over all data sets minus that of each reference.

    The untrained references are one here: in each column the stronger one.

    Args:
        columns: of the leaderboard.
        methods: of the protocol.
        settings: as for `paired_differences`; its baseline is not used.
        untrained: references whose weights nobody has trained.
        trained: the other references.
        validation: as for `untrained_differences`.

    Returns:
        A row as DifferenceRow per evaluation, reference and method that is none; corrected over the methods.
    """
    groups: dict[str, list[ComparisonDraws]] = {}
    for column in columns:
        both = with_stronger(column, untrained, validation)
        groups.setdefault(column.place.evaluation, []).append(both)
    compared = [name for name in methods if name not in (*untrained, *trained)]
    baselines = [*([STRONGER] if untrained else []), *trained]
    tables = [
        paired_differences([_joined(group, [*compared, baseline])], compared, against(settings, baseline))
        for group in groups.values()
        for baseline in baselines
    ]
    return pd.concat(tables, ignore_index=True) if tables else DifferenceRow.table([])


def with_stronger(
    column: ComparisonDraws, untrained: Sequence[str], validation: ValidationMeans
) -> ComparisonDraws:
    """A column in which the stronger untrained reference has a row of its own, or a reason why not."""
    stronger = stronger_reference(column, untrained, validation)
    if stronger.reason:
        return replace(column, excluded=column.excluded | {STRONGER: stronger.reason})
    row = [column.methods.index(stronger.method)]
    return replace(
        column,
        methods=(*column.methods, STRONGER),
        values=np.concatenate([column.values, column.values[row]]),
        draws=np.concatenate([column.draws, column.draws[row]]),
    )


def against(settings: ReportSettings, baseline: str) -> ReportSettings:
    """The same settings with another baseline."""
    return settings.model_copy(update={"baseline": baseline})


def _joined(columns: Sequence[ComparisonDraws], methods: Sequence[str]) -> ComparisonDraws:
    """The columns of an evaluation as one column of mean scores; who lacks a result is left out of it."""
    reasons = {method: lacking(columns, method) for method in methods}
    present = [method for method in methods if not reasons[method]]
    joined = over_all(columns, present) if present else replace(columns[0], methods=())
    return replace(joined, excluded={method: reason for method, reason in reasons.items() if reason})
