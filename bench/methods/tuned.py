"""reports/tuning/<method>.csv: the trials by which a method's settings were chosen, for the leaderboard."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.cells.files import REPORTS, read_table, write_table
from bench.cells.method_facts import MethodFacts, facts_of
from bench.protocol.protocol import OPTIMISATION_KEY, Protocol
from imssl.errors import UserError

FOLDER = REPORTS / "tuning"

# Columns beside those of the searched settings.
TRIAL, SCORE, UNTRAINED, LENGTH, JUDGE, CHOSEN, FAILURE = BESIDE = (
    "trial",
    "score",
    "untrained",
    "length",
    "judge",
    "chosen",
    "failure",
)
# Of searches before the judge was a choice.
FIRST_JUDGE = "knn"
ON = "score on "


@dataclass(frozen=True)
class TuningState:
    """How much a method was tuned.

    Attributes:
        trials: sets of values that were tried; 0 where there is no table of them.
        kept: whether the method still has the values that were chosen; None where there is no table.
        judges: by what the trials were judged, as ``tune.judge`` names it.
        lengths: of their pretraining, as shares of a run's, ascending.
        learns: whether the chosen values did better than an untrained encoder; None where that is not known.
    """

    trials: int
    kept: bool | None
    judges: tuple[str, ...] = (FIRST_JUDGE,)
    lengths: tuple[float, ...] = (1.0,)
    learns: bool | None = None

    @property
    def words(self) -> str:
        """For a reader, such as ``20 trials``. Full length and nearest neighbours are usual: not named."""
        if self.kept is None:
            return "not tuned here"
        count = "1 trial" if self.trials == 1 else f"{self.trials:,} trials"
        if self.lengths != (1.0,):
            count += f" at {' and '.join(f'{length:.0%}' for length in self.lengths)} of the length"
        if self.judges != (FIRST_JUDGE,):
            count += f" judged by {' and '.join(self.judges)}"
        if self.learns is False:
            count += ", none better than an untrained encoder"
        return count if self.kept else f"{count}, but its values are not those that were chosen"


def trials_file(method: str) -> Path:
    """Where the trials of a method are listed."""
    return FOLDER / f"{method}.csv"


def write_trials(method: str, table: pd.DataFrame) -> None:
    """Write the table of a method's trials, one row each."""
    write_table(trials_file(method), table)


def read_trials(file: Path) -> pd.DataFrame | None:
    """The table of a method's trials; None where there is none.

    Raises:
        UserError: it cannot be read.
    """
    if not file.is_file():
        return None
    table = read_table(file, (FAILURE,))
    missing = [name for name in (TRIAL, CHOSEN) if name not in table.columns]
    if missing:
        raise UserError(f"{file} lacks the column {missing[0]}. Delete it and run: bench tune {file.stem}")
    return table


def tuning_of(method: str, protocol: Protocol, trials: Path | None = None) -> TuningState | None:
    """How much a method was tuned, and whether params.yaml still says what was chosen.

    Args:
        method: its name in the protocol.
        protocol: whose values of the method.
        trials: where its trials are listed; those of this checkout where it is not given.

    Returns:
        None for a method that does not pretrain.

    Raises:
        UserError: the table cannot be read, or the method's settings are not right.
    """
    facts = facts_of(method, protocol)
    if not facts.pretrains:
        return None
    table = read_trials(trials or trials_file(method))
    if table is None:
        return TuningState(0, None)
    chosen = _chosen(table)
    kept = len(chosen) == 1 and with_values_of(facts, chosen) == [True]
    judges, lengths = _values(table, JUDGE, FIRST_JUDGE), _values(table, LENGTH, 1.0)
    return TuningState(len(table), kept, judges, lengths, learns(table))


def searched_in(table: pd.DataFrame) -> list[str]:
    """The columns of a table of trials that hold the values of searched settings."""
    return [name for name in table.columns if name not in BESIDE and not name.startswith(ON)]


def with_values_of(facts: MethodFacts, table: pd.DataFrame) -> list[bool]:
    """Which trials had the values that params.yaml gives the method."""
    optimisation = {f"{OPTIMISATION_KEY}.{key}": v for key, v in facts.optimisation.items()}
    present, searched = facts.settings | optimisation, searched_in(table)
    return [
        all(_equal(present.get(name), trial[name]) for name in searched)
        for trial in table[searched].to_dict("records")
    ]


def learns(table: pd.DataFrame) -> bool | None:
    """Whether the chosen trial did better than an untrained encoder; None where its table does not say."""
    chosen = _chosen(table)
    if UNTRAINED not in chosen.columns or len(chosen) != 1:
        return None
    score, untrained = chosen.iloc[0][[SCORE, UNTRAINED]].astype(float)
    return None if np.isnan(untrained) else bool(score > untrained)


def _chosen(table: pd.DataFrame) -> pd.DataFrame:
    return table[table[CHOSEN] == True]  # noqa: E712 (a column of NaN has no truth)


def _values(table: pd.DataFrame, column: str, of_earlier: Any) -> tuple[Any, ...]:
    """The values of a column, each once, ascending; earlier searches lack the column."""
    present = table[column].fillna(of_earlier) if column in table.columns else [of_earlier]
    return tuple(sorted(set(present)))


def _equal(present: Any, chosen: float) -> bool:
    return present is not None and bool(np.allclose(present, chosen, rtol=1e-9, atol=0))
