"""A search from its ranges to params.yaml."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.methods.tuned import read_trials, trials_file, write_trials
from bench.protocol.protocol import Protocol, read_protocol
from bench.protocol.registry import different_settings, load_method
from bench.tuning.outcome import enter_chosen, trial_table
from bench.tuning.ranges import Range, ranges_of, row_changes
from bench.tuning.search import Judged, TuningTrial, best_of, search
from bench.tuning.trial import judged
from imssl.errors import UserError


@dataclass(frozen=True)
class TunedMethod:
    """What came of a search.

    Attributes:
        ranges: that were searched, with the values before.
        trials: all of them.
        chosen: the best.
        changed: whether params.yaml was changed.
    """

    ranges: list[Range]
    trials: list[TuningTrial]
    chosen: TuningTrial
    changed: bool


def tune_method(method: str, budget: int, seed: int, tell: Callable[[str], None]) -> TunedMethod:
    """Search a method's settings on the data sets of params.yaml, list the trials, and enter the best.

    Args:
        method: its id.
        budget: number of trials.
        seed: of the search.
        tell: is told of each trial in a line.

    Raises:
        UserError: there is no such method, nothing to tune, a data set is not prepared, or all trials failed.
    """
    protocol = read_protocol()
    if method not in protocol.methods:
        raise UserError(f"{method!r} is not in params.yaml; there are: {', '.join(protocol.methods)}")
    ranges = ranges_of(load_method(method, protocol))
    _refuse_fixed(method, ranges, protocol)

    def judge(number: int, values: dict[str, float]) -> Judged:
        row = protocol.methods[method]
        # The values of params.yaml are tried as they are written, to the last digit.
        changed = row if number == 0 else row | row_changes(values, ranges, row)
        outcome = judged(
            method, protocol.model_copy(update={"methods": protocol.methods | {method: changed}})
        )
        tell(f"trial {number + 1} of {budget}: {_in_words(values)}: {_score_in_words(outcome)}")
        return outcome

    trials = search(ranges, budget, seed, judge)
    chosen = best_of(trials)
    write_trials(method, trial_table(trials, chosen, read_trials(method)))
    if chosen is None:
        raise UserError(
            f"all {budget} trials of {method} failed; they are listed in {trials_file(method)}, and "
            "params.yaml is unchanged."
        )
    return TunedMethod(ranges, trials, chosen, enter_chosen(method, chosen, ranges))


def _refuse_fixed(method: str, ranges: list[Range], protocol: Protocol) -> None:
    """A value that a data set has of its own would not follow the search."""
    for dataset, different in different_settings(method, protocol).items():
        for searched in ranges:
            if not searched.section and searched.key in different:
                raise UserError(
                    f"datasets.{dataset}.methods.{method}.{searched.key} is set for one data set, and the "
                    "search gives all of them one value. Remove it first."
                )


def _in_words(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _score_in_words(outcome: Judged) -> str:
    return f"failed ({outcome.failure})" if outcome.score is None else f"{outcome.score:.4f}"
