"""A run's status as text: counts in a line, running cells in a table with their training curves."""

import itertools
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bench.forecast.fill_progress import clock
from bench.forecast.run_status import RunningRow, RunStatus

BARS = "▁▂▃▄▅▆▇█"
SPARKLINE_WIDTH = 24
MOST_ROWS = 32


def as_renderable(status: RunStatus) -> RenderableType:
    """The whole status, for a terminal or a pipe."""
    parts: list[RenderableType] = [Text(in_a_line(status))]
    if status.running:
        table = Table("cell", "steps", "time", "left", "on", "loss", "kNN", box=None, pad_edge=False)
        for row in status.running[:MOST_ROWS]:
            table.add_row(*_columns(row))
        parts.append(table)
    if len(status.running) > MOST_ROWS:
        parts.append(Text(f"and {len(status.running) - MOST_ROWS} more"))
    parts += [Text(f"failed: {title}: {why}", style="red") for title, why in status.failed.items()]
    return Group(*parts)


def in_a_line(status: RunStatus) -> str:
    """Counts, pace and time left."""
    counts = (
        f"{len(status.running)} running, {status.waiting} waiting, {status.done} of {status.cells} done, "
        f"{len(status.failed)} failed"
    )
    pace = "" if status.cells_a_minute is None else f", {status.cells_a_minute:.1f} cells a minute"
    left = "" if status.seconds_left is None else f", {clock(status.seconds_left)} left"
    if not status.running and not status.engine:
        return f"{counts}; nothing is at work" if status.done < status.cells else f"{counts}: all done"
    return counts + pace + left + (f" (bench run on {status.engine})" if status.engine else "")


def sparkline(values: Sequence[float], width: int = SPARKLINE_WIDTH) -> str:
    """A curve as a line of bars, from the lowest value to the highest; of a long one, means of its parts."""
    if len(values) > width:
        edges = [round(i * len(values) / width) for i in range(width + 1)]
        pairs = itertools.pairwise(edges)
        values = [sum(values[start:end]) / (end - start) for start, end in pairs]
    if not values:
        return ""
    low, high = min(values), max(values)
    if high == low:
        return BARS[0] * len(values)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in values)


def _columns(row: RunningRow) -> list[str]:
    knn = next((values for name, values in row.curves.items() if name.startswith("knn")), [])
    return [
        escape(row.title),
        f"{row.share:.0%}",
        "" if row.seconds is None else clock(row.seconds),
        "" if row.seconds_left is None else clock(row.seconds_left),
        escape(row.host),
        _curve(row.curves.get("loss", [])),
        _curve(knn),
    ]


def _curve(values: Sequence[float]) -> str:
    return f"{sparkline(values)} {values[-1]:.3g}" if values else ""
