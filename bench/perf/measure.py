"""How something is timed, and what is told of it: median and spread, ratios of neighbouring rounds."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A figure measured several times.

    Attributes:
        median: of the repetitions.
        low: first quartile.
        high: third quartile.
        count: repetitions.
    """

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        group: what is measured, for example ``pretraining``.
        name: in which setting.
        unit: of the value.
        value: the figure; None where it is left out.
        against: what the ratio compares with.
        ratio: how many times better than that, by round; above 1 is better.
        at_least: target of the ratio, or of the value where there is no ratio.
        at_most: target of the value.
        note: in a few words, for example why a figure is left out.
    """

    group: str
    name: str
    unit: str
    value: Spread | None
    against: str = ""
    ratio: Spread | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets its target; None without a target or without a figure."""
        judged = self.ratio or self.value
        if judged is None or (self.at_least is None and self.at_most is None):
            return None
        if self.at_least is not None:
            return judged.median >= self.at_least
        return self.value is not None and self.value.median <= (self.at_most or 0.0)


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Attributes:
        rounds: repetitions of every figure.
        seconds: that one repetition of a training step should take about.
        longest_step: a setting whose single step takes longer is left out.
        settings: how many of the settings of a group are measured, the cheapest first.
    """

    rounds: int
    seconds: float
    longest_step: float
    settings: int


FULL = Effort(rounds=7, seconds=4.0, longest_step=20.0, settings=3)
QUICK = Effort(rounds=3, seconds=0.7, longest_step=5.0, settings=1)


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of some repetitions, at least one."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high), len(values))


def seconds_of(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in every round; within a round one follows the other.

    What else the machine does changes slowly, so it falls on neighbours alike, and their ratios hold where
    times taken one after another would not. Each call is made once before, uncounted.
    """
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        # Every second round goes backwards, so that none always follows the same one.
        for name in list(calls)[:: 1 if turn % 2 == 0 else -1]:
            seconds[name].append(seconds_of(calls[name]))
    return seconds


def times_faster(seconds: Mapping[str, list[float]], name: str, other: str) -> Spread:
    """How many times faster one call is than another, round by round."""
    return spread([theirs / ours for ours, theirs in zip(seconds[name], seconds[other], strict=True)])


def per_second(seconds: Sequence[float], items: int) -> Spread:
    """Items per second."""
    return spread([items / value for value in seconds])
