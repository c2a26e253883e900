"""The smallest difference that a run could find: from seeds, test patients and the scatter of a pilot.

A prospective figure. It takes the variances of finished cells and nothing of the effect that was observed:
power at the observed effect is the p-value in other words (Hoenig & Heisey 2001).
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol as Shape

from scipy import optimize, stats

from bench.summary.estimated_mean import EstimatedMean

POWER = 0.8
MOST_SEEDS = 1000


class MeasuredDifference(Shape):
    """What planning reads of a row of differences.DifferenceRow, of this run or of a pilot."""

    dataset: str
    evaluation: str
    fraction: float | None
    block: int | None
    patient_error: float | None
    seed_error: float | None
    seeds: int
    units: int


@dataclass(frozen=True)
class ColumnPower:
    """What one column of the leaderboard can show.

    Attributes:
        dataset: id.
        evaluation: finetune, frozen or probe.
        fraction: share of the labels; None for probes.
        block: of the encoder, for probes only.
        seed_deviation: standard deviation between seeds of a difference of two methods, median over the
            methods.
        patient_error: standard error of that difference over the test patients, likewise.
        patients: test patients behind it.
        detectable: smallest difference that a test finds with probability POWER.
        seeds_needed: least seeds that find the wanted difference as often; None if no number does.
    """

    dataset: str
    evaluation: str
    fraction: float | None
    block: int | None
    seed_deviation: float
    patient_error: float
    patients: int
    detectable: float
    seeds_needed: int | None


def power_of(effect: float, estimate: EstimatedMean, level: float) -> float:
    """Probability that the interval of a difference leaves out 0 on the right side.

    Args:
        effect: the true difference, above 0.
        estimate: whose variances are taken as true; its value is not read.
        level: of the interval.

    Returns:
        By the non-central t distribution (Cohen 1988, chapter 2).
    """
    if estimate.error == 0:
        return 1.0
    quantile = stats.t.ppf((1 + level) / 2, estimate.freedom)
    return float(stats.nct.sf(quantile, estimate.freedom, effect / estimate.error))


def detectable_effect(estimate: EstimatedMean, level: float, power: float = POWER) -> float:
    """Smallest true difference whose interval leaves out 0 with a given probability.

    Args:
        estimate: whose variances are taken as true; its value is not read.
        level: of the interval.
        power: the probability.

    Returns:
        In the unit of the estimate; NaN with one seed, which cannot show how much seeds differ.
    """
    if estimate.seeds < 2:
        return math.nan
    if estimate.error == 0:
        return 0.0
    quantile = stats.t.ppf((1 + level) / 2, estimate.freedom)
    # With few degrees of freedom the error itself is often overestimated: far more than the quantile is
    # needed.
    highest = 4 * (quantile + 4)
    distance = optimize.brentq(
        lambda units: power_of(units * estimate.error, estimate, level) - power, 0.0, highest, xtol=1e-6
    )
    return float(distance) * estimate.error


def with_seeds(estimate: EstimatedMean, seeds: int) -> EstimatedMean:
    """The same patients and scatter with another number of seeds, 2 or more."""
    return replace(
        estimate,
        seed_variance=estimate.seed_variance * estimate.seeds / seeds,
        seed_freedom=estimate.seed_freedom * (seeds - 1) / (estimate.seeds - 1),
        seeds=seeds,
    )


def seeds_needed(effect: float, estimate: EstimatedMean, level: float, least_seeds: int) -> int | None:
    """Least seeds that find a true difference with probability POWER; None if no number is enough."""

    def is_found(seeds: int) -> bool:
        return power_of(effect, with_seeds(estimate, seeds), level) >= POWER

    if not is_found(MOST_SEEDS):
        return None
    low, high = least_seeds - 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def plan_power(
    differences: Iterable[MeasuredDifference],
    seeds: int,
    patients: dict[str, int],
    effect: float,
    level: float,
    least_seeds: int,
) -> list[ColumnPower]:
    """What every column of the leaderboard could show with a number of seeds.

    Args:
        differences: of a pilot or of finished cells; rows with one seed or without a result are passed over.
        seeds: of the run that is planned, 2 or more.
        patients: test patients of that run by data set; others are taken to be as in the pilot.
        effect: a difference that is wanted to be found.
        level: of the intervals, corrected for how many tests there will be.
        least_seeds: below so many there is no mark.
    """
    columns: dict[tuple[str, str, float | None, int | None], list[MeasuredDifference]] = {}
    for row in differences:
        if row.seed_error is not None and row.patient_error is not None and row.seeds > 1:
            columns.setdefault((row.dataset, row.evaluation, row.fraction, row.block), []).append(row)
    planned = []
    for place, rows in columns.items():
        units = patients.get(place[0], rows[0].units)
        estimate = _typical(rows, units)
        here = with_seeds(estimate, seeds)
        planned.append(
            ColumnPower(
                *place,
                seed_deviation=math.sqrt(estimate.seed_variance * estimate.seeds),
                patient_error=math.sqrt(estimate.patient_variance),
                patients=units,
                detectable=detectable_effect(here, level),
                seeds_needed=seeds_needed(effect, estimate, level, least_seeds),
            )
        )
    return planned


def _typical(rows: list[MeasuredDifference], units: int) -> EstimatedMean:
    """Median variances of a column's differences, for a number of test patients."""
    first = rows[0]
    patient = statistics.median((row.patient_error or 0.0) ** 2 for row in rows)
    return EstimatedMean(
        value=math.nan,
        patient_variance=patient * first.units / max(units, 1),
        patient_freedom=max(units - 1, 1),
        seed_variance=statistics.median((row.seed_error or 0.0) ** 2 for row in rows),
        # Of two rows whose seeds scatter alike.
        seed_freedom=2 * (first.seeds - 1),
        seeds=first.seeds,
        units=units,
    )
