"""The search itself: which values are tried next, chosen by Optuna after those that were tried before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import create_trial

from bench.tuning.ranges import Range

# A trial that diverges is worse than any that does not: scores lie in [0, 1].
OF_A_FAILURE = 0.0
# So many trials are drawn at random before the search goes by what it has seen (Bergstra et al. 2011).
AT_RANDOM = 5


@dataclass(frozen=True)
class Judged:
    """How the values of a trial did.

    Attributes:
        scores: on validation images, by data set; None where pretraining failed.
        failure: why it failed; empty if it did not.
    """

    scores: Mapping[str, float | None]
    failure: str = ""

    @property
    def score(self) -> float | None:
        """Mean over the data sets; None unless every one has a score."""
        defined = [score for score in self.scores.values() if score is not None]
        return sum(defined) / len(defined) if defined and len(defined) == len(self.scores) else None


@dataclass(frozen=True)
class TuningTrial:
    """One set of values that was tried.

    Attributes:
        number: from 0; trial 0 has the values of params.yaml.
        values: by name of the range.
        judged: how they did.
    """

    number: int
    values: dict[str, float]
    judged: Judged


def search(
    ranges: list[Range], budget: int, seed: int, judge: Callable[[int, dict[str, float]], Judged]
) -> list[TuningTrial]:
    """Try as many sets of values as the budget allows, the present ones first.

    The sampler is seeded and sees the trials in their order, so the same scores lead to the same trials: a
    search that was stopped asks for the same values again, and finds the finished ones in the store.

    Args:
        ranges: that are searched.
        budget: number of trials, that of the present values among them.
        seed: of the sampler.
        judge: tries the values of a trial.

    Returns:
        The trials in their order.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {each.name: _distribution(each) for each in ranges}
    study = optuna.create_study(
        direction="maximize", sampler=TPESampler(n_startup_trials=AT_RANDOM, seed=seed)
    )
    present = {each.name: each.current for each in ranges}
    trials = [TuningTrial(0, present, judge(0, present))]
    if all(each.holds_current for each in ranges):
        study.add_trial(create_trial(params=present, distributions=space, value=_score_for_optuna(trials[0])))
    for number in range(1, budget):
        asked = study.ask(space)
        values = {each.name: each.rounded(asked.params[each.name]) for each in ranges}
        trials.append(TuningTrial(number, values, judge(number, values)))
        study.tell(asked, _score_for_optuna(trials[-1]))
    return trials


def best_of(trials: list[TuningTrial]) -> TuningTrial | None:
    """The trial with the highest score, the earliest of equals; None where all failed."""
    scored = [trial for trial in trials if trial.judged.score is not None]
    return max(scored, key=lambda trial: (trial.judged.score, -trial.number), default=None)


def _score_for_optuna(trial: TuningTrial) -> float:
    return OF_A_FAILURE if trial.judged.score is None else trial.judged.score


def _distribution(searched: Range) -> BaseDistribution:
    low, high, log = searched.tuned.low, searched.tuned.high, searched.tuned.log
    if searched.whole:
        return IntDistribution(round(low), round(high), log=log)
    return FloatDistribution(low, high, log=log)
