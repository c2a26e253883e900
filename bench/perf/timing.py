"""How benchmarks are timed and judged: quartiles of repetitions, and ratios taken round by round."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles of a figure that was measured several times.

    Attributes:
        median: of the repetitions.
        low: first quartile.
        high: third quartile.
        count: number of repetitions.
    """

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class PerfRow:
    """One row of the table that ``bench perf`` prints.

    Attributes:
        group: what is measured, for example ``pretraining``.
        name: of what, and under which conditions.
        unit: of the value.
        value: what was measured; None if it was left out.
        against: what the ratio compares with.
        ratio: how many times better than that, round by round; above 1 is better.
        at_least: lower target for the ratio, or for the value if there is no ratio.
        at_most: upper target for the value.
        note: a remark, for example why the measurement was left out.
    """

    group: str
    name: str
    unit: str
    value: Quartiles | None
    against: str = ""
    ratio: Quartiles | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets its target; None without a target or a value."""
        judged = self.ratio or self.value
        if judged is None or (self.at_least is None and self.at_most is None):
            return None
        if self.at_least is not None:
            return judged.median >= self.at_least
        return self.value is not None and self.value.median <= (self.at_most or 0.0)


@dataclass(frozen=True)
class Effort:
    """How much is measured, and for how long.

    Attributes:
        rounds: repetitions of every measurement.
        seconds: about how long one repetition of training takes.
        longest_step: a workload of which a single step takes longer than this (in seconds) is left out.
        workloads: how many workloads of a group are measured, the cheapest first.
    """

    rounds: int
    seconds: float
    longest_step: float
    workloads: int


FULL = Effort(rounds=7, seconds=4.0, longest_step=20.0, workloads=3)
QUICK = Effort(rounds=3, seconds=0.7, longest_step=5.0, workloads=1)


def quartiles(values: Sequence[float]) -> Quartiles:
    """Median and quartiles of one or more repetitions."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Quartiles(float(median), float(low), float(high), len(values))


def seconds_of(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def undisturbed_seconds(call: Callable[[], object], on_gpu: bool = False) -> float:
    """Seconds that one call takes on a machine that does nothing else, whatever it does now.

    On a busy machine the wall clock counts the turns of other programs too; the processor's time does not,
    but adds up over threads. The smaller of the two is the nearer one. A GPU has no such clock: there it is
    the wall clock's.
    """
    started, processor_started = time.perf_counter(), time.process_time()
    call()
    processor_seconds, seconds = time.process_time() - processor_started, time.perf_counter() - started
    return seconds if on_gpu else min(seconds, processor_seconds)


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in every round; within a round the calls take turns.

    The load of a machine changes slowly, so it affects neighbouring calls alike; the ratios of their times
    then hold where times taken one after another would not. Each call is first made once without being timed.
    """
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        # Every second round runs backwards, so that no call always follows the same one.
        for name in list(calls)[:: 1 if number % 2 == 0 else -1]:
            seconds[name].append(seconds_of(calls[name]))
    return seconds


def times_faster(seconds: Mapping[str, list[float]], name: str, baseline: str) -> Quartiles:
    """How many times faster the call ``name`` is than the call ``baseline``, round by round."""
    return quartiles([theirs / ours for ours, theirs in zip(seconds[name], seconds[baseline], strict=True)])


def per_second(seconds: Sequence[float], items: int) -> Quartiles:
    """Items processed per second, from the seconds of each repetition."""
    return quartiles([items / value for value in seconds])
