"""The paper's claims and what this run says about them, by the rules of claims.yaml."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML
from scipy import stats

from bench.analysis.evidence import MEASURES, Effect, Evidence
from bench.analysis.paper import PAPER_METHODS, REFERENCE, methods_of
from bench.summary.paired_effect import PairedEffect, mean_effect
from bench.summary.read import synthetic_datasets
from bench.summary.summary import Summary

CLAIMS_FILE = Path(__file__).parent / "claims.yaml"

CLAIMS: dict[str, str] = {
    "claim_id": "id of the claim in claims.yaml",
    "claim": "in the suite's words",
    "made_in": "where the paper makes it",
    "reported": "what the paper reports",
    "measured": "what is measured here; positive agrees with the claim",
    "rule": "how the verdict is found, in words",
    "margin": "smallest difference that counts",
    "method": "id of the paper's method that is judged; empty if the protocol has none",
    "reference": "id of the MoCo it is compared with",
    "effect": "mean over data sets, or the lowest over all cells for the rule `each`; NaN where results lack",
    "low": "lower end of its interval; simultaneous for the rule `each`; NaN if the uncertainty is unknown",
    "high": "upper end",
    "where": "the cell of the lowest interval, for the rule `each`; empty otherwise",
    "judged_on": "the data sets behind the effect",
    "seeds": "number of seeds",
    "verdict": "reproduced, contradicted, inconclusive, or none",
    "why": "a sentence on the verdict",
    "seeds_needed": "about how many seeds would settle it, if the effect is as measured; NA if seeds cannot",
    "test_factor": "about how many times the test patients would settle it; NaN if they cannot",
}

Verdict = Literal["reproduced", "contradicted", "inconclusive", "none"]

RULES = {
    "mean": "Reproduced: the mean effect is at least {margin} and its interval lies above 0. Contradicted: "
    "the interval lies below {margin}. Otherwise inconclusive.",
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
    measure: str
    measured: str
    rule: Literal["mean", "each"]
    margin: float = Field(gt=0)


@dataclass(frozen=True)
class Judgement:
    """What a run says about one claim for one method; see CLAIMS."""

    verdict: Verdict
    why: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    where: str = ""
    seeds_needed: int | None = None
    test_factor: float = math.nan


@cache
def read_claims() -> tuple[Claim, ...]:
    """The claims, in the order of the page."""
    return tuple(Claim(**claim) for claim in YAML(typ="safe").load(CLAIMS_FILE)["claims"])


def claim_table(summary: Summary) -> pd.DataFrame:
    """Judge every claim for every method of the paper that the protocol has.

    Synthetic images never yield a verdict: where real data sets stand beside them, these alone are judged.

    Returns:
        Columns as in CLAIMS, a row per claim and method.
    """
    protocol, results = summary.protocol, summary.results
    run = Evidence(protocol, summary.columns, results.table)
    synthetic = synthetic_datasets(protocol, results)
    real = [dataset for dataset in protocol.datasets if dataset not in synthetic]
    methods = [method for stem in PAPER_METHODS for method in methods_of(protocol, stem)]
    reference = next(iter(methods_of(protocol, REFERENCE)), "")
    rows = []
    for claim in read_claims():
        for method in methods or [""]:
            datasets = real or list(protocol.datasets)
            if method and reference:
                judged = judge(
                    claim, _effects(run, claim, datasets, method, reference), protocol.report.level
                )
            else:
                judged = Judgement("none", _absent(methods, reference))
            if not real and method and reference:
                judged = _without_verdict(judged)
            rows.append(_row(claim, judged, method, reference, datasets, len(protocol.seeds)))
    return pd.DataFrame(rows, columns=list(CLAIMS)).astype({"seeds_needed": "Int64"})


def judge(claim: Claim, effects: Sequence[Effect], level: float) -> Judgement:
    """Apply a claim's rule.

    Args:
        claim: with its rule and margin.
        effects: measured, one per data set or per cell.
        level: nominal coverage of the intervals.
    """
    lacking = dict.fromkeys(f"{effect.dataset}: {effect.reason}" for effect in effects if effect.reason)
    if lacking:
        return Judgement(
            "none", f"Results are missing, and nothing is averaged over a hole. {'; '.join(lacking)}."
        )
    if claim.rule == "mean":
        estimates = [effect.estimate for effect in effects if effect.estimate]
        return judge_mean(mean_effect(estimates), claim.margin, level)
    return judge_each(effects, claim.margin, level)


def judge_mean(estimate: PairedEffect, margin: float, level: float) -> Judgement:
    """The rule `mean` of claims.yaml."""
    effect, (low, high) = estimate.effect, estimate.interval(level)
    found: dict[str, Any] = {"effect": effect, "low": low, "high": high}
    if math.isnan(low):
        return Judgement("inconclusive", _UNKNOWN, **found)
    if effect >= margin and low > 0:
        return Judgement("reproduced", "The interval lies above 0.", **found)
    if high < margin:
        return Judgement("contradicted", f"The interval rules out a gain of {margin:g}.", **found)
    # Were the effect as measured: either 0 or the margin would have to leave the interval.
    needed = Needed.of(estimate, effect if effect >= margin else margin - effect, level)
    return Judgement("inconclusive", needed.sentence, **found, **needed.columns)


def judge_each(effects: Sequence[Effect], margin: float, level: float) -> Judgement:
    """The rule `each` of claims.yaml; intervals by Bonferroni hold for all cells at once."""
    simultaneous = 1 - (1 - level) / len(effects)
    cells = [
        (*effect.estimate.interval(simultaneous), effect.estimate, f"{effect.dataset}, {effect.where}")
        for effect in effects
        if effect.estimate
    ]
    low, high, estimate, where = min(cells, key=lambda cell: cell[0])
    found: dict[str, Any] = {"effect": estimate.effect, "low": low, "high": high, "where": where}
    if any(math.isnan(cell[0]) for cell in cells):
        return Judgement("inconclusive", _UNKNOWN, **found)
    if low > -margin:
        return Judgement("reproduced", f"Every interval lies above −{margin:g}.", **found)
    for low, high, estimate, where in cells:
        if estimate.effect <= -margin and high < 0:
            found = {"effect": estimate.effect, "low": low, "high": high, "where": where}
            return Judgement("contradicted", f"Clearly worse than MoCo: {where}.", **found)
    open_cells = [cell[2] for cell in cells if cell[0] <= -margin]
    needed = Needed.most(
        [
            Needed.of(cell, cell.effect + margin if cell.effect > -margin else -cell.effect, simultaneous)
            for cell in open_cells
        ]
    )
    return Judgement("inconclusive", needed.sentence, **found, **needed.columns)


_UNKNOWN = (
    "One seed cannot show how much the effect changes from seed to seed: two seeds at least are needed."
)


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
    def of(cls, estimate: PairedEffect, distance: float, level: float) -> "Needed":
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
    def most(cls, needed: Sequence["Needed"]) -> "Needed":
        """What settles all of several questions."""
        seeds = [one.seeds for one in needed]
        tests = [one.tests for one in needed]
        return cls(
            None if None in seeds else max(count for count in seeds if count is not None),
            math.nan if any(math.isnan(factor) for factor in tests) else max(tests),
            max(one.both for one in needed),
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
        """As in CLAIMS."""
        return {"seeds_needed": self.seeds, "test_factor": self.tests}


def _effects(run: Evidence, claim: Claim, datasets: list[str], method: str, reference: str) -> list[Effect]:
    measure = MEASURES[claim.measure]
    return [effect for dataset in datasets for effect in measure(run, dataset, method, reference)]


def _absent(methods: list[str], reference: str) -> str:
    lacking = [] if methods else [f"none of the paper's methods ({', '.join(PAPER_METHODS)})"]
    lacking += [] if reference else [f"no {REFERENCE} to compare with"]
    return f"The protocol has {' and '.join(lacking)}."


def _without_verdict(judged: Judgement) -> Judgement:
    why = "All images are synthetic: they show that the suite works and say nothing about the paper."
    return Judgement("none", why, judged.effect, judged.low, judged.high, judged.where)


def _row(
    claim: Claim, judged: Judgement, method: str, reference: str, datasets: list[str], seeds: int
) -> dict[str, Any]:
    stated = claim.model_dump(include={"claim", "made_in", "reported", "measured", "margin"})
    return {
        "claim_id": claim.id,
        **stated,
        "rule": RULES[claim.rule].format(margin=f"{claim.margin:g}"),
        "method": method,
        "reference": reference,
        "judged_on": ", ".join(datasets),
        "seeds": seeds,
        **asdict(judged),
    }
