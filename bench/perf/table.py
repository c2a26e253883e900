"""The rows of ``bench perf`` as a table, as Markdown and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.perf.timing import PerfRow, Quartiles


def as_table(rows: Sequence[PerfRow], title: str) -> Table:
    """A table for the terminal: ratios first, then the figures from which they come."""
    table = Table("what", "setting", "times", "better than", "figure", "target", title=title, box=None)
    group = ""
    for row in rows:
        verdict = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}[row.met]
        table.add_row(
            "" if row.group == group else row.group,
            row.name,
            _quartiles(row.ratio),
            row.against,
            _value(row),
            f"{_target(row)} {verdict}".strip(),
        )
        group = row.group
    return table


def as_markdown(rows: Sequence[PerfRow]) -> str:
    """A table in Markdown."""
    lines = ["| what | setting | times better than | figure | target |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        verdict = {True: ", met", False: ", **not met**", None: ""}[row.met]
        ratio = f"**{_quartiles(row.ratio)}** {row.against}" if row.ratio else row.against
        lines.append(f"| {row.group} | {row.name} | {ratio} | {_value(row)} | {_target(row)}{verdict} |")
    return "\n".join(lines)


def as_json(rows: Sequence[PerfRow], machine: dict[str, Any]) -> dict[str, Any]:
    """All rows and the machine, for other programs."""
    return {"machine": machine, "rows": [asdict(row) | {"met": row.met} for row in rows]}


def in_words(row: PerfRow) -> str:
    """A row in a few words."""
    ratio = f"{_quartiles(row.ratio)} times better than {row.against}" if row.ratio else ""
    return ", ".join(part for part in (ratio, _value(row)) if part)


def _value(row: PerfRow) -> str:
    value = f"{_quartiles(row.value)} {row.unit}".strip() if row.value else ""
    return "; ".join(part for part in (value, row.note) if part)


def _target(row: PerfRow) -> str:
    if row.at_least is not None:
        return f"at least {_number(row.at_least)}"
    return f"at most {_number(row.at_most)}" if row.at_most is not None else ""


def _quartiles(quartiles: Quartiles | None) -> str:
    if quartiles is None:
        return ""
    if quartiles.count == 1:
        return _number(quartiles.median)
    return f"{_number(quartiles.median)} ({_number(quartiles.low)} to {_number(quartiles.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
