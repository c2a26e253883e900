"""Does the paper reproduce: the verdicts on its claims, and every way in which this run differs from it."""

from itertools import groupby
from typing import Any

import pandas as pd

from bench.report.layout import Column, Entry, Row, Table, listed, signed, span


def claim_table(claims: pd.DataFrame) -> Table:
    """A row per claim and method: what was measured, the verdict, and why."""
    heads = ("measured here", "effect", "verdict", "why", "rule")
    return Table(
        id="claims",
        title="Verdicts on the paper's claims",
        corner="Claim",
        columns=tuple(Column(head, numeric=head == "effect") for head in heads),
        rows=tuple(_claim_row(record) for record in claims.to_dict("records")),
        note="Rules and margins stand in bench/analysis/claims.yaml, fixed before any run was judged. A "
        "positive effect agrees with the claim; below it its interval. Synthetic data never yield a verdict.",
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


def _claim_row(record: dict[Any, Any]) -> Row:
    interval = () if pd.isna(record["low"]) else (span(record["low"], record["high"]),)
    effect = signed(None if pd.isna(record["effect"]) else record["effect"])
    verdict = "no verdict" if record["verdict"] == "none" else record["verdict"]
    needed = []
    if not pd.isna(record["seeds_needed"]):
        needed.append(f"about {int(record['seeds_needed']):,} seeds would settle it")
    if not pd.isna(record["test_factor"]):
        needed.append(f"about {record['test_factor']:.1f} times the test patients would settle it")
    where = (record["where"],) if record["where"] else ()
    return Row(
        f"{record['method']} against {record['reference']}" if record["method"] else "no method of the paper",
        (
            Entry(record["measured"], where, numeric=False),
            Entry(effect, interval),
            Entry(verdict, tuple(needed), numeric=False),
            Entry(record["why"], numeric=False),
            Entry(record["rule"], numeric=False),
        ),
        group=f"{record['claim']} Made in: {record['made_in']}. Reported: {record['reported']}.",
    )
