"""The rules by which a claim is judged: effects in, a verdict with its reason out; see claims.yaml."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from bench.analysis.power import detectable_effect
from bench.analysis.reproduction.evidence import Effect, mean_effect
from bench.summary.estimated_mean import EstimatedMean
from bench.summary.over_seeds import too_few_seeds

SMALLER: Literal["holds, but smaller than the margin"] = "holds, but smaller than the margin"
Verdict = Literal["reproduced", "holds, but smaller than the margin", "contradicted", "inconclusive", "none"]
UNTOLD: Literal["compatible with that reported and with 0"] = "compatible with that reported and with 0"
Size = Literal[
    "compatible with that reported",
    "compatible with that reported and with 0",
    "smaller than reported",
    "larger than reported",
    "",
]

RULES = {
    "mean": "Reproduced: the mean effect is at least {margin} and its interval lies above 0. Holds, but "
    "smaller than the margin: the interval lies above 0 and below {margin}. Contradicted: it reaches below "
    "0 and lies below {margin}. Otherwise inconclusive.",
    "each": "Reproduced: every interval lies above −{margin}. Contradicted: an effect is −{margin} or lower "
    "and its interval lies below 0. Otherwise inconclusive. The intervals hold for all cells at once.",
}


class Claim(BaseModel):
    """A claim as claims.yaml states it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    claim: str
    made_in: str
    reported: str
    reported_size: float | None = None
    measure: str
    measured: str
    rule: Literal["mean", "each"]
    margin: float = Field(gt=0)


@dataclass(frozen=True)
class Judgement:
    """What a run says about one claim for one method; see claims.ClaimRow."""

    verdict: Verdict
    why: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    where: str = ""
    size: Size = ""
    seeds_needed: int | None = None
    test_factor: float = math.nan


def judge(claim: Claim, effects: Sequence[Effect], level: float, least_seeds: int) -> Judgement:
    """Apply a claim's rule.

    Args:
        claim: with its rule and margin.
        effects: measured, one per data set or per cell.
        level: of the intervals, corrected for the number of verdicts.
        least_seeds: with fewer, any claim is inconclusive.
    """
    lacking = dict.fromkeys(f"{effect.dataset}: {effect.reason}" for effect in effects if effect.reason)
    if lacking:
        return Judgement(
            "none", f"Results are missing, and nothing is averaged over a hole. {'; '.join(lacking)}."
        )
    if claim.rule == "each":
        return judge_each(effects, claim.margin, level, least_seeds)
    mean = mean_effect(effects)
    judged = judge_mean(mean, claim.margin, level, least_seeds)
    if claim.reported_size is None or mean.seeds < least_seeds:
        return judged
    in_metric = mean_effect(effects, in_metric=True)
    size = compared_with_reported(claim.reported_size, *in_metric.interval(level))
    return replace(judged, size=size)


def detectable(claim: Claim, effects: Sequence[Effect], level: float, least_seeds: int) -> float:
    """Smallest true effect that a claim's rule would find with a probability of power.POWER.

    The observed effects do not enter. For the rule `each` it is a loss in any cell, so the cell that shows
    the least counts.

    Returns:
        On the scale of the claim; NaN where a result is missing, and with fewer than the least number of
        seeds, with which nothing is found.
    """
    estimates = [effect.estimate for effect in effects if effect.estimate]
    if len(estimates) < len(effects) or estimates[0].seeds < least_seeds:
        return math.nan
    if claim.rule == "mean":
        return detectable_effect(mean_effect(effects), level)
    simultaneous = 1 - (1 - level) / len(estimates)
    return max(detectable_effect(estimate, simultaneous) for estimate in estimates)


def judge_mean(estimate: EstimatedMean, margin: float, level: float, least_seeds: int) -> Judgement:
    """The rule `mean` of claims.yaml."""
    effect, (low, high) = estimate.value, estimate.interval(level)
    measured: dict[str, Any] = {"effect": effect, "low": low, "high": high}
    if estimate.seeds < least_seeds:
        return Judgement("inconclusive", too_few_seeds(estimate.seeds, least_seeds), **measured)
    if effect >= margin and low > 0:
        return Judgement("reproduced", "The interval lies above 0.", **measured)
    if high < margin:
        if low > 0:
            return Judgement(SMALLER, f"The interval lies above 0 and below {margin:g}.", **measured)
        return Judgement("contradicted", f"The interval rules out a gain of {margin:g}.", **measured)
    # Were the effect as measured: either 0 or the margin would have to leave the interval.
    needed = Needed.of(estimate, effect if effect >= margin else margin - effect, level)
    return Judgement("inconclusive", needed.sentence, **measured, **needed.columns)


def judge_each(effects: Sequence[Effect], margin: float, level: float, least_seeds: int) -> Judgement:
    """The rule `each` of claims.yaml; intervals by Bonferroni hold for all cells at once."""
    simultaneous = 1 - (1 - level) / len(effects)
    cells = [
        (*effect.estimate.interval(simultaneous), effect.estimate, f"{effect.dataset}, {effect.where}")
        for effect in effects
        if effect.estimate
    ]
    low, high, estimate, where = min(cells, key=lambda cell: cell[0])
    measured: dict[str, Any] = {"effect": estimate.value, "low": low, "high": high, "where": where}
    if estimate.seeds < least_seeds:
        return Judgement("inconclusive", too_few_seeds(estimate.seeds, least_seeds), **measured)
    if low > -margin:
        return Judgement("reproduced", f"Every interval lies above −{margin:g}.", **measured)
    for low, high, estimate, where in cells:
        if estimate.value <= -margin and high < 0:
            measured |= {"effect": estimate.value, "low": low, "high": high, "where": where}
            return Judgement("contradicted", f"Clearly worse than MoCo: {where}.", **measured)
    open_cells = [cell[2] for cell in cells if cell[0] <= -margin]
    needed = Needed.most(
        [
            Needed.of(cell, cell.value + margin if cell.value > -margin else -cell.value, simultaneous)
            for cell in open_cells
        ]
    )
    return Judgement("inconclusive", needed.sentence, **measured, **needed.columns)


def compared_with_reported(reported: float, low: float, high: float) -> Size:
    """Where the size that the paper reports lies, seen from the interval of the effect."""
    if high < reported:
        return "smaller than reported"
    if low > reported:
        return "larger than reported"
    return UNTOLD if low <= 0 <= high else "compatible with that reported"


@dataclass(frozen=True)
class Needed:
    """What would settle an open question, if the effect stays as it is.

    Attributes:
        seeds: in all; None if no number of seeds is enough.
        tests: times the test patients; NaN if no number is enough.
        both: times the seeds and the test patients together.
    """

    seeds: int | None
    tests: float
    both: float

    @classmethod
    def of(cls, estimate: EstimatedMean, distance: float, level: float) -> "Needed":
        """From the distance between the effect and the value that its interval has to leave out.

        Large samples are assumed (a normal quantile), so the answer is "about".
        """
        if distance <= 0:
            return cls(None, math.nan, math.inf)
        allowed = (distance / float(stats.norm.ppf((1 + level) / 2))) ** 2
        seeds, tests = None, math.nan
        if estimate.seeds > 1 and estimate.patient_variance < allowed:
            more = estimate.seeds * estimate.seed_variance / (allowed - estimate.patient_variance)
            # With as many seeds as there are, only Student's wider quantile can have kept the question open.
            seeds = max(math.ceil(more), estimate.seeds + 1)
        if estimate.units and estimate.seed_variance < allowed:
            tests = max(estimate.patient_variance / (allowed - estimate.seed_variance), 1.1)
        return cls(seeds, tests, max(estimate.error**2 / allowed, 1.1))

    @classmethod
    def most(cls, questions: Sequence["Needed"]) -> "Needed":
        """What settles all of several questions."""
        seeds = [needed.seeds for needed in questions]
        tests = [needed.tests for needed in questions]
        return cls(
            None if None in seeds else max(count for count in seeds if count is not None),
            math.nan if any(math.isnan(factor) for factor in tests) else max(tests),
            max(needed.both for needed in questions),
        )

    @property
    def sentence(self) -> str:
        """In words."""
        ways = [f"about {self.seeds:,} seeds"] if self.seeds is not None else []
        ways += [] if math.isnan(self.tests) else [f"about {self.tests:.2g} times the test patients"]
        if ways:
            return f"If the effect is as measured, {' or '.join(ways)} would settle it."
        if math.isinf(self.both):
            return "The effect lies on the very border of the rule: no number of seeds would settle it."
        both = f"about {self.both:.2g} times the seeds and the test patients"
        return f"If the effect is as measured, {both} would settle it."

    @property
    def columns(self) -> dict[str, Any]:
        """As in claims.ClaimRow."""
        return {"seeds_needed": self.seeds, "test_factor": self.tests}
