"""The measurements as a table, as JSON and as rows for docs/performance.md."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.perf.measure import Figure, Spread


def as_table(rows: Sequence[Figure], title: str) -> Table:
    """For the terminal: ratios first, then the figures they come from."""
    table = Table("what", "setting", "times", "better than", "figure", "target", title=title, box=None)
    group = ""
    for row in rows:
        verdict = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}[row.met]
        table.add_row(
            "" if row.group == group else row.group,
            row.name,
            _spread(row.ratio),
            row.against,
            _figure(row),
            f"{_target(row)} {verdict}".strip(),
        )
        group = row.group
    return table


def as_markdown(rows: Sequence[Figure]) -> str:
    """For docs/performance.md."""
    lines = ["| what | setting | times better than | figure | target |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        verdict = {True: ", met", False: ", **not met**", None: ""}[row.met]
        ratio = f"**{_spread(row.ratio)}** {row.against}" if row.ratio else row.against
        lines.append(f"| {row.group} | {row.name} | {ratio} | {_figure(row)} | {_target(row)}{verdict} |")
    return "\n".join(lines)


def as_json(rows: Sequence[Figure], machine: dict[str, Any]) -> dict[str, Any]:
    """Everything, for other programs."""
    return {"machine": machine, "rows": [asdict(row) | {"met": row.met} for row in rows]}


def summary(row: Figure) -> str:
    """A row's figures in a few words."""
    ratio = f"{_spread(row.ratio)} times better than {row.against}" if row.ratio else ""
    return ", ".join(part for part in (ratio, _figure(row)) if part)


def _figure(row: Figure) -> str:
    figure = f"{_spread(row.value)} {row.unit}".strip() if row.value else ""
    return "; ".join(part for part in (figure, row.note) if part)


def _target(row: Figure) -> str:
    if row.at_least is not None:
        return f"at least {_number(row.at_least)}"
    return f"at most {_number(row.at_most)}" if row.at_most is not None else ""


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.count == 1:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
