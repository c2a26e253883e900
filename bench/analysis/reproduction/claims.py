"""The paper's claims and what this run says about them, by the rules of claims.yaml."""

import math
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field
from ruamel.yaml import YAML

from bench.analysis.reproduction.evidence import MEASURES, Effect, Evidence
from bench.analysis.reproduction.ledger import ledger_table
from bench.analysis.reproduction.other_patients import covered_words
from bench.analysis.reproduction.paper_methods import COMPARED_WITH, PAPER_METHODS, methods_of
from bench.analysis.reproduction.verdicts import RULES, Claim, Judgement, Size, Verdict, detectable, judge
from bench.analysis.row_models import Count, Number, RowModel
from bench.protocol.protocol import Protocol
from bench.summary.summary import Summary, synthetic_datasets

CLAIMS_FILE = Path(__file__).parent / "claims.yaml"


class ClaimRow(RowModel):
    """The verdict on one claim for one method."""

    claim_id: str = Field(description="id of the claim in claims.yaml")
    claim: str = Field(description="in the suite's words")
    made_in: str = Field(description="where the paper makes it")
    reported: str = Field(description="what the paper reports")
    reported_size: Number = Field(
        description="the effect that it reports, in the metric's own unit; NaN if it gives none"
    )
    measured: str = Field(description="what is measured here; positive agrees with the claim")
    rule: str = Field(description="how the verdict is reached, in words")
    margin: float = Field(description="smallest difference that counts, on the scale of the effect")
    method: str = Field(description="id of the paper's method that is judged; empty if the protocol has none")
    compared_with: str = Field(description="id of the MoCo it is compared with")
    effect: Number = Field(
        description="mean over data sets, or the lowest over all cells for the rule `each`; metrics on the "
        "scale with 0 at chance and 1 at the perfect model; NaN where results lack"
    )
    low: Number = Field(
        description="lower end of its interval, which holds for all verdicts at once, and for the rule "
        "`each` for all cells; with one seed over test patients only; NaN if the uncertainty is unknown"
    )
    high: Number = Field(description="upper end")
    covers: str = Field(
        default="",
        description="what the interval is about: test patients, seeds or both, and why not both; empty where "
        "there is none, and in files from before it was said",
    )
    where: str = Field(description="the cell of the lowest interval, for the rule `each`; empty otherwise")
    judged_on: str = Field(description="the data sets behind the effect")
    seeds: int = Field(description="number of seeds")
    family: int = Field(description="how many verdicts share the error of 1 - level")
    verdict: Verdict = Field(
        description="what the rule says; none on synthetic images and where results lack"
    )
    size: Size = Field(
        description="the effect in the metric's own unit beside the reported one; empty where none is "
        "reported or there are too few seeds"
    )
    scale: str = Field(
        description="what sets the run far from the paper: image size, encoder, data; empty if nothing does"
    )
    why: str = Field(description="a sentence on the verdict")
    detectable: Number = Field(
        description="smallest true effect that this run would find with a probability of 80%, from its "
        "seeds, patients and scatter; the observed effect does not enter; NaN below the least number of seeds"
    )
    seeds_needed: Count = Field(
        description="about how many seeds would settle it, if the effect is as measured; NA if seeds cannot"
    )
    test_factor: Number = Field(
        description="about how many times the test patients would settle it; NaN if they cannot"
    )


class ClaimEffectRow(RowModel):
    """One of the effects behind a verdict."""

    claim_id: str = Field(description="id of the claim in claims.yaml")
    method: str = Field(description="id of the paper's method that is judged")
    dataset: str = Field(description="id of the data set")
    where: str = Field(description="the share of the labels, where the effect is about one; empty otherwise")
    effect: Number = Field(description="on the scale of the claim; NaN where a result is missing")
    low: Number = Field(description="lower end of its interval at the protocol's level, not corrected")
    high: Number = Field(description="upper end")
    in_metric: Number = Field(description="the effect in the metric's own unit")
    reason: str = Field(description="what is missing; empty otherwise")


@cache
def read_claims() -> tuple[Claim, ...]:
    """The claims, in the order of the page."""
    return tuple(Claim(**claim) for claim in YAML(typ="safe").load(CLAIMS_FILE)["claims"])


def claim_tables(summary: Summary) -> dict[str, pd.DataFrame]:
    """Judge every claim for every method of the paper that the protocol has.

    All verdicts are one family: with claims times methods of them, each is reached at the level
    1 - (1 - level) / count (Bonferroni). The count is the protocol's, whatever has finished, so that a
    further cell changes no other verdict. Synthetic images never yield a verdict: where real data sets stand
    beside them, these alone are judged.

    Returns:
        Rows as ClaimRow, one per claim and method, and as ClaimEffectRow.
    """
    protocol, results = summary.protocol, summary.results
    run = Evidence(protocol, summary.columns, results)
    synthetic = synthetic_datasets(protocol, results)
    real = [dataset for dataset in protocol.datasets if dataset not in synthetic]
    datasets = real or list(protocol.datasets)
    methods = [method for stem in PAPER_METHODS for method in methods_of(protocol, stem)]
    moco = next(iter(methods_of(protocol, COMPARED_WITH)), "")
    family = len(read_claims()) * max(len(methods), 1)
    level = 1 - (1 - protocol.report.level) / family
    shared = {
        "compared_with": moco,
        "judged_on": ", ".join(datasets),
        "seeds": len(protocol.seeds),
        "family": family,
        "scale": scale_of_run(summary, datasets),
    }
    verdicts, effects = [], []
    for claim in read_claims():
        for method in methods or [""]:
            if method and moco:
                measured = _effects(run, claim, datasets, method, moco)
                judged = judge(claim, measured, level, protocol.report.least_seeds)
                judged = judged if real else _without_verdict(judged)
                least = detectable(claim, measured, level, protocol.report.least_seeds)
                covers = _covered(measured, len(protocol.seeds))
                effects += [_effect_row(claim, method, effect, protocol) for effect in measured]
            else:
                judged, least, covers = Judgement("none", _absent(methods, moco)), math.nan, ""
            verdicts.append(_row(claim, judged, method) | shared | {"detectable": least, "covers": covers})
    return {"claims": ClaimRow.table(verdicts), "claim_effects": ClaimEffectRow.table(effects)}


def scale_of_run(summary: Summary, datasets: list[str]) -> str:
    """How far a run is from the paper in image size, encoder and data, in a few words; empty if it is not.

    Args:
        summary: of the run.
        datasets: that are judged.
    """
    protocol = summary.protocol
    ledger = ledger_table(protocol, summary.results.cards)
    departures = ledger[ledger["differs"] == True]  # noqa: E712 (None is neither)
    on_run = set(departures[departures["kind"] == "run"]["aspect"])
    on_data = departures[departures["about"].isin(datasets)]
    sides = on_data[on_data["aspect"] == "image side in pixels"]["here"]
    words = [f"{' or '.join(dict.fromkeys(sides))} pixels"] if len(sides) else []
    if on_run & {"architecture", "channels of block 1"}:
        words.append(protocol.encoder.name.replace("resnet", "ResNet-") + protocol.encoder.width_words)
    others = list(on_data[on_data["aspect"] == "source"]["about"])
    at = f"at {', '.join(words)}" if words else ""
    return "; ".join(part for part in (at, f"other data: {', '.join(others)}" if others else "") if part)


def _effects(run: Evidence, claim: Claim, datasets: list[str], method: str, moco: str) -> list[Effect]:
    measure = MEASURES[claim.measure]
    return [effect for dataset in datasets for effect in measure(run, dataset, method, moco)]


def _covered(effects: list[Effect], seeds: int) -> str:
    if any(effect.reason for effect in effects):
        return ""
    return covered_words({effect.dataset: effect.without_patients for effect in effects}, seeds)


def _absent(methods: list[str], moco: str) -> str:
    lacking = [] if methods else [f"none of the paper's methods ({', '.join(PAPER_METHODS)})"]
    lacking += [] if moco else [f"no {COMPARED_WITH} to compare with"]
    return f"The protocol has {' and '.join(lacking)}."


def _without_verdict(judged: Judgement) -> Judgement:
    why = "All images are synthetic: they show that the suite works and say nothing about the paper."
    return replace(judged, verdict="none", why=why, size="", seeds_needed=None, test_factor=math.nan)


def _row(claim: Claim, judged: Judgement, method: str) -> dict[str, Any]:
    stated = claim.model_dump(include={"claim", "made_in", "reported", "reported_size", "measured", "margin"})
    return {
        "claim_id": claim.id,
        **stated,
        "rule": RULES[claim.rule].format(margin=f"{claim.margin:g}"),
        "method": method,
        **asdict(judged),
    }


def _effect_row(claim: Claim, method: str, effect: Effect, protocol: Protocol) -> dict[str, Any]:
    row: dict[str, Any] = {"claim_id": claim.id, "method": method, "dataset": effect.dataset}
    row |= {"where": effect.where, "reason": effect.reason}
    if effect.estimate is not None and effect.in_metric is not None:
        low, high = effect.estimate.interval(protocol.report.level)
        row |= {"effect": effect.estimate.value, "low": low, "high": high}
        row |= {"in_metric": effect.in_metric.value}
    return row
