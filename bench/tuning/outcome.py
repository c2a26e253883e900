"""What comes of a search: the table of its trials, and the best values in params.yaml."""

from typing import Any

import pandas as pd

from bench.cells.method_facts import facts_of
from bench.methods.params_rows import params, with_values, write_params
from bench.methods.tuned import CHOSEN, FAILURE, JUDGE, LENGTH, ON, SCORE, TRIAL, UNTRAINED
from bench.protocol.protocol import TuneSettings, protocol_of
from bench.tuning.ranges import Range, row_changes
from bench.tuning.search import TuningTrial


def trial_table(
    trials: list[TuningTrial],
    chosen: TuningTrial | None,
    tune: TuneSettings,
    untrained: float | None,
    earlier: pd.DataFrame | None,
) -> pd.DataFrame:
    """A row per trial: its values, its scores on validation images, whether it was chosen, why it failed.

    Args:
        trials: of a search.
        chosen: one of them; None where all failed.
        tune: how long the trials were, and by what they were judged.
        untrained: what the judge says of an encoder as initialised.
        earlier: the table of searches before. A second search is effort on top of the first, so what was
            tried then stays in the table, unless it was tried again.
    """
    rows = []
    for trial in trials:
        row: dict[str, Any] = {**trial.values, SCORE: trial.judged.score}
        row |= {f"{ON}{dataset}": score for dataset, score in trial.judged.scores.items()}
        row |= {UNTRAINED: untrained, LENGTH: tune.length, JUDGE: tune.judge}
        rows.append(row | {CHOSEN: trial is chosen, FAILURE: trial.judged.failure})
    table = pd.DataFrame(rows)
    if earlier is not None:
        names = list(trials[0].values)
        tried = set(map(tuple, table[names].itertuples(index=False)))
        again = [tuple(values) in tried for values in earlier.reindex(columns=names).itertuples(index=False)]
        before = earlier[[not repeated for repeated in again]].assign(**{CHOSEN: False})
        table = pd.concat([before, table]) if len(before) else table
    table[TRIAL] = range(1, len(table) + 1)
    return table[[TRIAL, *(name for name in table.columns if name != TRIAL)]]


def enter_chosen(method: str, chosen: TuningTrial, ranges: list[Range]) -> bool:
    """Write the chosen values into the method's row of params.yaml, comments kept; whether that changed it.

    The values of params.yaml, where they are the best, are left as they are written.

    Raises:
        UserError: the row cannot be edited, or the protocol would not be right; nothing is changed.
    """
    if chosen.number == 0:
        return False
    text, protocol = params()
    edited = with_values(text, method, row_changes(chosen.values, ranges, protocol.methods[method]))
    facts_of(method, protocol_of(edited))
    write_params(edited)
    return edited != text
