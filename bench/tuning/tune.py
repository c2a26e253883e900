"""A search from its ranges to params.yaml."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.machine.workers import in_own_process
from bench.methods.tuned import learns, read_trials, trials_file, write_trials
from bench.protocol.nearest_name import refuse_unknown
from bench.protocol.protocol import Protocol, read_protocol
from bench.protocol.registry import different_settings, load_method
from bench.tuning.outcome import enter_chosen, trial_table
from bench.tuning.ranges import Range, ranges_of, row_changes
from bench.tuning.search import Judged, TuningTrial, best_of, search
from bench.tuning.trial import judged, untrained
from imssl.errors import UserError


@dataclass(frozen=True)
class TunedMethod:
    """What came of a search.

    Attributes:
        ranges: that were searched, with the values before.
        trials: all of them.
        chosen: the best.
        changed: whether params.yaml was changed.
        untrained: what the judge says of an encoder as initialised.
        learns: whether the best did better than that; None where either has no score.
    """

    ranges: list[Range]
    trials: list[TuningTrial]
    chosen: TuningTrial
    changed: bool
    untrained: float | None
    learns: bool | None


def tune_method(method: str, budget: int | None, seed: int, report: Callable[[str], None]) -> TunedMethod:
    """Search a method's settings on the data sets of params.yaml, list the trials, and enter the best.

    Args:
        method: its id.
        budget: number of trials; None: that of params.yaml.
        seed: of the search.
        report: is given a line on each trial.

    Raises:
        UserError: there is no such method, nothing to tune, a data set is not prepared, or all trials failed.
    """
    protocol = read_protocol()
    refuse_unknown("method", method, protocol.methods)
    budget = protocol.tune.trials if budget is None else budget
    # A method's file is imported where it is asked or pretrained, and nowhere else.
    ranges = in_own_process(partial(_ranges, method, protocol))
    _refuse_fixed(method, ranges, protocol)

    def judge(number: int, values: dict[str, float]) -> Judged:
        row = protocol.methods[method]
        # The values of params.yaml are tried as they are written, to the last digit.
        changed = row if number == 0 else row | row_changes(values, ranges, row)
        outcome = judged(
            method, protocol.model_copy(update={"methods": protocol.methods | {method: changed}})
        )
        report(f"trial {number + 1} of {budget}: {_in_words(values)}: {_score_in_words(outcome)}")
        return outcome

    reference = untrained(protocol)
    report(f"an untrained encoder: {_score_in_words(reference)}")
    trials = search(ranges, budget, seed, judge)
    chosen = best_of(trials)
    table = trial_table(trials, chosen, protocol.tune, reference.score, read_trials(trials_file(method)))
    write_trials(method, table)
    if chosen is None:
        raise UserError(
            f"all {budget} trials of {method} failed; they are listed in {trials_file(method)}, and "
            "params.yaml is unchanged."
        )
    changed = enter_chosen(method, chosen, ranges)
    return TunedMethod(ranges, trials, chosen, changed, reference.score, learns(table))


def _ranges(method: str, protocol: Protocol) -> list[Range]:
    return ranges_of(load_method(method, protocol))


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
    if outcome.score is not None:
        return f"{outcome.score:.4f}"
    return f"failed ({outcome.failure})" if outcome.failure else "no score"
