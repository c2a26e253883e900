"""Does the paper reproduce: the verdicts on its claims, and every way in which this run differs from it."""

from itertools import groupby
from typing import Any

import pandas as pd

from bench.analysis.reproduction.verdicts import UNTOLD
from bench.report.layout import Column, Entry, Row, Table, listed, number, percent, signed, span


def claim_table(claims: pd.DataFrame, effects: pd.DataFrame, level: float) -> Table:
    """A row per claim and method: what was measured, the verdict, and why.

    Args:
        claims: rows as claims.ClaimRow.
        effects: rows as claims.ClaimEffectRow.
        level: of the report.
    """
    heads = ("measured here", "effect", "verdict", "why", "rule")
    behind = {key: rows.to_dict("records") for key, rows in effects.groupby(["claim_id", "method"])}
    rows = []
    for record in claims.to_dict("records"):
        key = record["claim_id"], record["method"]
        rows.append(_claim_row(record, behind.get(key, [])))
    return Table(
        id="claims",
        title="Verdicts on the paper's claims",
        corner="Claim",
        columns=tuple(Column(head, numeric=head == "effect") for head in heads),
        rows=tuple(rows),
        note=_claim_note(claims, level),
    )


def _claim_note(claims: pd.DataFrame, level: float) -> str:
    family = int(claims["family"].max()) if len(claims) else 0
    by_chance = number(family * (1 - level) / 2, 1)
    return (
        "Rules and margins stand in bench/analysis/reproduction/claims.yaml, fixed before any run was "
        "judged. A positive effect agrees with the claim; metrics are on the scale with 0 at chance and 1 "
        f"at the perfect model. The {family} verdicts are one family: judged one by one at "
        f"{percent(level)}, chance alone would bring up to {by_chance} of them to “reproduced” if nothing "
        "differed; the intervals below the effects hold for all at once, so that a false verdict stands in "
        f"at most {percent(1 - level)} of runs. Effects of single data sets have intervals of their own. "
        "“Could find” is the smallest true effect that a run with these seeds, patients and scatter would "
        "find with 80% probability, whatever it has found. Synthetic data never yield a verdict."
    )


def ledger_table(ledger: pd.DataFrame) -> Table:
    """A row per aspect: the paper, its released code, this run; equal rows of data sets are joined."""
    records = [{str(k): v for k, v in record.items()} for record in ledger.to_dict("records")]
    keys = ("kind", "aspect", "paper", "released", "here", "differs", "differs_from")
    joined: dict[tuple[Any, ...], list[str]] = {}
    for record in records:
        joined.setdefault(tuple(record[key] for key in keys), []).append(record["about"])
    rows = []
    for kind, group in groupby(joined, key=lambda key: key[0]):
        heading = {"run": "The whole run", "method": "Methods", "dataset": "Data sets"}.get(kind, str(kind))
        for key in group:
            _, aspect, paper, released, here, differs, differs_from = key
            about = "" if kind == "run" else f"{listed(joined[key])}: "
            verdict = "not known" if differs is None else f"yes, from {differs_from}" if differs else "no"
            texts = (paper or "–", released or "–", here or "–", verdict)
            entries = tuple(Entry(text, numeric=False) for text in texts)
            rows.append(Row(f"{about}{aspect}", entries, group=heading))
    heads = ("paper", "released code", "this run", "differs")
    return Table(
        id="ledger",
        title="Ledger of differences",
        corner="Aspect",
        columns=tuple(Column(head, numeric=False) for head in heads),
        rows=tuple(rows),
        note="This run's side is read from params.yaml and the data cards. A dash: not stated or not known.",
    )


def differences_counted(ledger: pd.DataFrame) -> str:
    """How many aspects of the run differ, in a sentence."""
    differs = int((ledger["differs"] == True).sum())  # noqa: E712 (None is neither)
    return f"{differs:,} of {len(ledger):,} aspects differ from the paper or its released code."


def _claim_row(record: dict[Any, Any], effects: list[dict[Any, Any]]) -> Row:
    where = (record["where"],) if record["where"] else ()
    return Row(
        f"{record['method']} against {record['compared_with']}"
        if record["method"]
        else "no method of the paper",
        (
            Entry(record["measured"], where, numeric=False),
            _effect_entry(record, effects),
            _verdict_entry(record),
            Entry(record["why"], numeric=False),
            Entry(record["rule"], numeric=False),
        ),
        group=f"{record['claim']} Made in: {record['made_in']}. Reported: {record['reported']}.",
    )


def _effect_entry(record: dict[Any, Any], effects: list[dict[Any, Any]]) -> Entry:
    """The effect with its interval, and below it that of every data set."""
    small = [] if pd.isna(record["low"]) else [span(record["low"], record["high"])]
    if small and record["covers"]:
        small.append(f"over {record['covers']}")
    if len(effects) > 1:
        small += [_effect_words(effect) for effect in effects if not pd.isna(effect["effect"])]
    return Entry(signed(None if pd.isna(record["effect"]) else record["effect"]), tuple(small))


def _effect_words(effect: dict[Any, Any]) -> str:
    place = f"{effect['dataset']}, {effect['where']}" if effect["where"] else effect["dataset"]
    interval = "" if pd.isna(effect["low"]) else f" [{span(effect['low'], effect['high'])}]"
    return f"{place}: {signed(effect['effect'])}{interval}"


def _verdict_entry(record: dict[Any, Any]) -> Entry:
    """The verdict with the scale of the run, the size beside the reported one, and the run's power."""
    verdict = "no verdict" if record["verdict"] == "none" else record["verdict"]
    if record["scale"] and record["verdict"] != "none":
        verdict = f"{verdict}, {record['scale']}"
    small = []
    if record["size"]:
        reported = record["reported_size"]
        small.append(
            f"size: cannot tell {reported:g} from 0"
            if record["size"] == UNTOLD
            else f"size: {record['size']} ({signed(reported)})"
        )
    if not pd.isna(record["detectable"]):
        small.append(f"could find {number(record['detectable'])} or more")
    if not pd.isna(record["seeds_needed"]):
        small.append(f"about {int(record['seeds_needed']):,} seeds would settle it")
    if not pd.isna(record["test_factor"]):
        small.append(f"about {record['test_factor']:.1f} times the test patients would settle it")
    return Entry(verdict, tuple(small), numeric=False)
