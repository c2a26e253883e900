"""The smallest difference that a run could find: from seeds, test patients and the scatter of a pilot.

A prospective figure. It takes the variances of finished cells and nothing of the effect that was observed:
power at the observed effect is the p-value in other words (Hoenig & Heisey 2001).
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Protocol as Shape

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import ndtr, stdtrit

from bench.summary.estimated_mean import EstimatedMean
from imssl.seeds import numpy_generator

POWER = 0.8
# Draws of what the seeds show of their variance: of one test, and of all columns of a table.
DRAWS, TABLE_DRAWS = 20_000, 50_000
# More than a metric of the suite can differ between chance and the perfect model.
BEYOND = 1.0
# Data set, evaluation, share of the labels, labels per class, block.
_Place = tuple[str, str, float | None, int | None, int | None]
MOST_SEEDS = 1000

Array = NDArray[np.float64]


class MeasuredDifference(Shape):
    """What planning reads of a row of differences.DifferenceRow, of this run or of a pilot."""

    dataset: str
    evaluation: str
    fraction: float | None
    labels_per_class: int | None
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
        fraction: share of the labels; None for probes and for k-shot.
        labels_per_class: of k-shot; otherwise None.
        block: of the encoder, for probes only.
        seed_deviation: standard deviation between seeds of a difference of two methods, median over the
            methods.
        patient_error: standard error of that difference over the test patients, likewise.
        patients: test patients behind it.
        seeds: of the run that is planned, or the least for a mark where it has fewer.
        level: of a single test of so many seeds, at which those of the whole table hold together.
        detectable: smallest difference that a test of so many seeds finds with probability POWER; None if it
            is larger than a metric can have.
        seeds_needed: least seeds that find the wanted difference as often; None if no number does.
    """

    dataset: str
    evaluation: str
    fraction: float | None
    labels_per_class: int | None
    block: int | None
    seed_deviation: float
    patient_error: float
    patients: int
    seeds: int
    level: float
    detectable: float | None
    seeds_needed: int | None


def power_of(effect: float, estimate: EstimatedMean, level: float) -> float:
    """Probability that the interval of a difference leaves out 0 on the right side.

    Both its width and its degrees of freedom are read off the variances that the seeds happen to show, so it
    is a mean over these. With the true variances in their place, as in the non-central t distribution, .80
    would be .52 to .78 at three seeds.

    Args:
        effect: the true difference, above 0.
        estimate: whose variances are taken as true; its value is not read.
        level: of the interval.
    """
    if estimate.error == 0:
        return 1.0
    return _power(effect, estimate.error, _half_widths(estimate, level))


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
    error = estimate.error
    if error == 0:
        return 0.0
    half_widths = _half_widths(estimate, level)
    # There all but every tenth of the misses that are allowed are hits beyond doubt.
    highest = float(np.quantile(half_widths, (9 + power) / 10)) + 6 * error
    effect = optimize.brentq(
        lambda effect: _power(effect, error, half_widths) - power, 0.0, highest, xtol=1e-6 * error
    )
    return float(effect)


def with_seeds(estimate: EstimatedMean, seeds: int) -> EstimatedMean:
    """The same patients and scatter with another number of seeds, 2 or more."""
    parts = tuple(
        (variance * estimate.seeds / seeds, freedom * (seeds - 1) / (estimate.seeds - 1))
        for variance, freedom in estimate.seed_parts
    )
    return replace(estimate, seed_parts=parts, seeds=seeds)


def seeds_needed(
    effect: float, estimate: EstimatedMean, level_with: Callable[[int], float], least_seeds: int
) -> int | None:
    """Least seeds that find a true difference with probability POWER; None if no number is enough.

    Args:
        effect: the true difference, above 0.
        estimate: whose scatter is taken as true.
        level_with: of the interval with so many seeds.
        least_seeds: with fewer nothing is found.
    """

    def is_found(seeds: int) -> bool:
        return power_of(effect, with_seeds(estimate, seeds), level_with(seeds)) >= POWER

    if not is_found(MOST_SEEDS):
        return None
    low, high = least_seeds - 1, least_seeds
    while not is_found(high):
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def level_of_one(columns: Sequence[EstimatedMean], tests: float, level: float) -> float:
    """The level of a single test at which all those of a table of differences hold together.

    The marks of a table hold every statistic against the largest that chance would bring to it, which is
    simulated with variances as uncertain as S seeds leave them (ranking.against_baseline). Here tests are
    taken for independent (Sidak 1967), and what chance would bring for its mean over the tables that there
    may be.

    Args:
        columns: a difference of each column, whose variances are taken as true.
        tests: of the table, 1 or more, as many in each column.
        level: 1 - level is the error of the table.
    """
    known = [estimate for estimate in columns if estimate.error > 0]
    if not known:
        return level
    drawn = [_shown_of_drawn(estimate, TABLE_DRAWS // len(known) + 1) for estimate in known]

    def log_right(deviate: float) -> float:
        """Log of the probability that no test of the table errs, if each is held against a deviate."""
        errors = [np.mean(2 * ndtr(-_student(deviate, freedom) * ratio)) for freedom, ratio in drawn]
        return tests / len(drawn) * float(np.sum(np.log1p(-np.array(errors))))

    deviate = optimize.brentq(lambda deviate: log_right(deviate) - math.log(level), 0.01, 30.0, xtol=1e-3)
    return 1 - 2 * float(ndtr(-deviate))


def plan_power(
    differences: Iterable[MeasuredDifference],
    seeds: int,
    patients: dict[str, int],
    effect: float,
    level: float,
    tests: dict[str, int],
    least_seeds: int,
) -> list[ColumnPower]:
    """What every column of the leaderboard could show with a number of seeds.

    Args:
        differences: of a pilot or of finished cells; rows with one seed or without a result are passed over.
        seeds: of the run that is planned; with fewer than least_seeds nothing is found, and it is said what
            the least would find.
        patients: test patients of that run by data set; others are taken to be as in the pilot.
        effect: a difference that is wanted to be found.
        level: of the report.
        tests: how many differences the table of each evaluation will test.
        least_seeds: below so many there is no mark.
    """
    columns: dict[_Place, list[MeasuredDifference]] = {}
    for row in differences:
        if row.seed_error is not None and row.patient_error is not None and row.seeds > 1:
            place = row.dataset, row.evaluation, row.fraction, row.labels_per_class, row.block
            columns.setdefault(place, []).append(row)
    estimates = {
        place: _typical(rows, patients.get(place[0], rows[0].units)) for place, rows in columns.items()
    }

    @cache
    def level_of_table(evaluation: str, seeds: int) -> float:
        table = [
            with_seeds(estimate, seeds) for place, estimate in estimates.items() if place[1] == evaluation
        ]
        return level_of_one(table, tests.get(evaluation, len(table)), level)

    def level_with(evaluation: str, seeds: int) -> float:
        # A hundred seeds show variances as well as any number does.
        return level_of_table(evaluation, min(seeds, 100))

    planned = []
    shown = max(seeds, least_seeds)
    for place, estimate in estimates.items():
        own_level = partial(level_with, place[1])
        found = detectable_effect(with_seeds(estimate, shown), own_level(shown))
        planned.append(
            ColumnPower(
                *place,
                seed_deviation=math.sqrt(estimate.seed_variance * estimate.seeds),
                patient_error=math.sqrt(estimate.patient_variance),
                patients=estimate.units,
                seeds=shown,
                level=own_level(shown),
                detectable=found if found < BEYOND else None,
                seeds_needed=seeds_needed(effect, estimate, own_level, least_seeds),
            )
        )
    return planned


def _typical(rows: list[MeasuredDifference], units: int) -> EstimatedMean:
    """Median variances of a column's differences, for a number of test patients."""
    first = rows[0]
    patient = statistics.median((row.patient_error or 0.0) ** 2 for row in rows)
    seed = statistics.median((row.seed_error or 0.0) ** 2 for row in rows)
    return EstimatedMean(
        value=math.nan,
        patient_variance=patient * first.units / max(units, 1),
        patient_freedom=max(units - 1, 1),
        # Of two rows whose seeds scatter alike.
        seed_parts=((seed / 2, first.seeds - 1), (seed / 2, first.seeds - 1)),
        seeds=first.seeds,
        units=units,
    )


def _power(effect: float, error: float, half_widths: Array) -> float:
    return float(np.mean(ndtr((effect - half_widths) / error)))


def _half_widths(estimate: EstimatedMean, level: float) -> Array:
    """(DRAWS,) of the interval, as the seeds show more or less of their variance."""
    generator = numpy_generator(0, "power")
    shown = [
        variance * generator.chisquare(freedom, size=DRAWS) / freedom
        for variance, freedom in estimate.seed_parts
    ]
    variance, freedom = _shown(estimate, shown)
    # Student's quantile is dear, and smooth.
    grid = np.geomspace(freedom.min(), freedom.max() + 1e-9, 200)
    quantile = np.interp(freedom, grid, -stdtrit(grid, (1 - level) / 2))
    return np.asarray(quantile * np.sqrt(variance))


def _shown(estimate: EstimatedMean, shown: list[Array]) -> tuple[Array, Array]:
    """The squared error that the variances shown give, and its degrees of freedom (Satterthwaite 1946)."""
    patients = np.full_like(shown[0], estimate.patient_variance)
    parts = [patients, *shown]
    freedoms = [max(estimate.patient_freedom, 1), *(freedom for _, freedom in estimate.seed_parts)]
    variance = np.asarray(np.sum(parts, axis=0))
    squares = [(part / variance) ** 2 / freedom for part, freedom in zip(parts, freedoms, strict=True)]
    return variance, 1 / np.sum(squares, axis=0)


def _shown_of_drawn(estimate: EstimatedMean, draws: int) -> tuple[Array, Array]:
    """(draws,) degrees of freedom, and how much of the true error is shown.

    A table shows variances, ranking.by_chance draws true ones that could be behind them, and what these show.
    """
    generator = numpy_generator(0, "power of a table")
    true, shown = np.full(draws, estimate.patient_variance), []
    for variance, freedom in estimate.seed_parts:
        seen, again = generator.chisquare(freedom, size=(2, draws))
        part = variance * seen / again
        true += part
        shown.append(part * generator.chisquare(freedom, size=draws) / freedom)
    squared_error, freedoms = _shown(estimate, shown)
    return freedoms, np.sqrt(squared_error / true)


def _student(deviate: float, freedom: Array) -> Array:
    """Student's quantile of a normal deviate; Wallace (1959), as ranking.by_chance takes statistics."""
    scaled = deviate * (8 * freedom + 3) / (8 * freedom + 1)
    # Far out its square would overflow; there it is beyond any difference.
    return np.asarray(np.sqrt(freedom * np.expm1(np.minimum(scaled**2 / freedom, 700))))
