"""What `bench run` shows: how many cells run, wait, are done and have failed, and how long it still takes."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from bench.forecast.estimate import RunEstimate
from bench.forecast.run_note import WRITE_SECONDS, new_note, write_note
from bench.protocol.cell import Cell

REDRAW_SECONDS = 0.25
# Between two looks at how long the waiting cells will take, judged by the finished ones.
COMPARE_SECONDS = 2.0


class FillProgress:
    """Shows how far the cells of a run are, on a terminal as a block that is redrawn, otherwise line by line.

    It starts no thread: the processes that compute cells are forked from this one.

    Args:
        estimate: of the missing cells.
        missing: cells that are to be computed.
        reused: how many others are in the store already.
        engine: that computes the cells, for the run's note on itself.
    """

    def __init__(self, estimate: RunEstimate, missing: list[Cell], reused: int, engine: str) -> None:
        self.estimate, self.reused = estimate, reused
        self.at_once = 1  # cells that run side by side
        self.note = new_note(engine, len(missing) + reused, reused)
        self.left = {cell: estimate.seconds(cell) for cell in missing}
        self.total = sum(self.left.values()) or 1.0
        self.shares: dict[Cell, float] = {}
        self.since: dict[Cell, float] = {}
        self.done = self.failed = 0
        self.started = time.monotonic()
        self.drawn = self.said = 0.0
        self.compared = self.started
        self.console = Console(file=sys.stdout, highlight=False)
        self.bar = Progress(
            TextColumn("cells"), BarColumn(bar_width=40), TaskProgressColumn(), auto_refresh=False
        )
        self.task = self.bar.add_task("cells", total=self.total)
        self.live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator["FillProgress"]:
        """Show it while the block runs."""
        try:
            if not self.console.is_terminal:
                yield self
                return
            with Live(console=self.console, auto_refresh=False, transient=True) as self.live:
                yield self
            self.live = None
        finally:
            self.note.ended = True
            self._say(at_once=True)

    def running(self, cell: Cell, done: int, total: int) -> None:
        """A cell has done so many of its steps."""
        now = time.monotonic()
        seconds = now - self.since.setdefault(cell, now)
        if done and seconds > 1:
            self.left[cell] = seconds * total / done
        self.shares[cell] = done / max(1, total)
        self.at_once = max(self.at_once, len(self.shares))
        self._draw()
        self._say()

    def finished(self, cell: Cell, seconds: float, failure: str | None = None) -> None:
        """A cell is in the store."""
        self.done += 1
        if failure is not None:
            self.note.failed[cell.title] = failure
        self.estimate.done(cell, seconds)
        self._ended(cell)
        now = time.monotonic()
        if now - self.compared > COMPARE_SECONDS:  # not for every cell: a large run has thousands
            self.compared = now
            waiting = self.left.keys() - self.shares.keys()
            self.left |= {other: self.estimate.seconds(other) for other in waiting}
        self._line(cell, f"{seconds:.1f} s" if failure is None else f"FAILED: {failure}")

    def given_up(self, cell: Cell, why: str) -> None:
        """A cell is not in the store and will not be."""
        self.failed += 1
        self.note.failed[cell.title] = why
        self._ended(cell)
        self._line(cell, f"FAILED: {why}")

    @property
    def seconds_left(self) -> float:
        """Until all cells are done, if the workers stay as busy as they are."""
        seconds = sum(s * (1 - self.shares.get(cell, 0.0)) for cell, s in self.left.items())
        return seconds / max(1, min(self.at_once, len(self.left)))

    @property
    def cells_a_minute(self) -> float | None:
        """Of this run; None before that is known."""
        minutes = (time.monotonic() - self.started) / 60
        return self.done / minutes if self.done and minutes > 0.05 else None

    def summary(self) -> str:
        """Counts in one line."""
        rate = "" if self.cells_a_minute is None else f", {self.cells_a_minute:.0f} cells a minute"
        waiting = len(self.left) - len(self.shares)
        in_store = f" ({self.reused} were there)" if self.reused else ""
        return (
            f"{len(self.shares)} running, {waiting} waiting, {self.done} done{in_store}, "
            f"{self.failed} failed{rate}, {clock(self.seconds_left)} left"
        )

    def result(self) -> str:
        """What was done, in one line, at the end."""
        reused = f", {self.reused} were in the store" if self.reused else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} cells computed in {clock(time.monotonic() - self.started)}{reused}{failed}"

    def _ended(self, cell: Cell) -> None:
        self.left.pop(cell, None)
        self.shares.pop(cell, None)
        self._say()

    def _say(self, at_once: bool = False) -> None:
        """Bring the note up to date that `bench status` reads."""
        now = time.monotonic()
        if now - self.said < WRITE_SECONDS and not at_once:
            return
        self.said, note = now, self.note
        note.done, note.waiting = self.done, len(self.left) - len(self.shares)
        note.running = {cell.title: share for cell, share in self.shares.items()}
        note.cells_a_minute, note.seconds_left = self.cells_a_minute, self.seconds_left
        write_note(note)

    def _line(self, cell: Cell, what: str) -> None:
        if self.live is not None:
            self.live.console.print(f"{cell.title}: {what}", style="dim", markup=False)
            self._draw(at_once=True)
        else:
            print(f"{cell.title}: {what}  [{self.summary()}]", flush=True)

    def _draw(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if self.live is None or (now - self.drawn < REDRAW_SECONDS and not at_once):
            return
        self.drawn = now
        left = sum(s * (1 - self.shares.get(cell, 0.0)) for cell, s in self.left.items())
        self.total = max(self.total, left)
        self.bar.update(self.task, total=self.total, completed=self.total - left)
        cells = [Text(f"  {cell.title}  {share:.0%}", style="dim") for cell, share in self.shares.items()]
        self.live.update(Group(self.bar, Text(self.summary()), *cells[:16]), refresh=True)


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, ``2:05``; with hours where there are some, ``1:02:05``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
