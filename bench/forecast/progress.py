"""Two bars: the whole run and the stage that is running, each with the time that is left."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.forecast.estimate import RunEstimate
from bench.forecast.outlook import Outlook
from bench.protocol.cell import Cell


class RunProgress:
    """Shows how far the whole run and the running stage are.

    The whole run counts the seconds that its cells took or are expected to take, so that a bar at one half
    means half the time. Without a terminal it prints one line per finished cell instead.

    Args:
        estimate: of the running stage's cells.
        outlook: on the other stages.
        stage: that is running, as DVC calls it.
    """

    def __init__(self, estimate: RunEstimate, outlook: Outlook, stage: str) -> None:
        self.estimate, self.outlook, self.stage = estimate, outlook, stage
        cells = estimate.cells
        self.stage_left = {cell: estimate.seconds(cell) for cell in cells if not estimate.is_done(cell)}
        self.stage_total = sum(self.stage_left.values()) or 1.0
        self.since: dict[Cell, float] = {}
        self.shares: dict[Cell, float] = {}
        self.started = self.drawn = time.monotonic()
        self.console = Console(file=sys.stdout, highlight=False)
        self.bars: Progress | None = None
        self.run_bar: TaskID = TaskID(0)
        self.stage_bar: TaskID = TaskID(0)

    @contextmanager
    def shown(self) -> Iterator["RunProgress"]:
        """Show the bars while the block runs."""
        if not self.console.is_terminal:
            yield self
            return
        columns = (
            TextColumn("{task.description}", table_column=None),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        # No thread redraws it: the processes that compute cells are forked from this one.
        with Progress(*columns, console=self.console, auto_refresh=False) as self.bars:
            self.run_bar = self.bars.add_task("whole run", total=self._run_total, left="")
            self.stage_bar = self.bars.add_task(self.stage, total=self.stage_total, left="")
            self._update()
            yield self
        self.bars = None

    def reused(self, cell: Cell) -> None:
        """A finished cell was found in the store."""
        self._line(cell, "reused")

    def running(self, cell: Cell, done: int, total: int) -> None:
        """A cell has done so many of its steps."""
        now = time.monotonic()
        seconds = now - self.since.setdefault(cell, now)
        if done and seconds > 1:
            self.stage_left[cell] = seconds * total / done
        self.shares[cell] = done / total
        self._update()

    def finished(self, cell: Cell, seconds: float, failure: str | None = None) -> None:
        """A cell has ended."""
        self.estimate.done(cell, seconds)
        self.stage_left.pop(cell, None)
        self.shares.pop(cell, None)
        self._line(cell, f"{seconds:.1f} s" if failure is None else f"FAILED: {failure}")
        self._update()

    def given_up(self, cell: Cell, why: str) -> None:
        """A cell cannot be computed."""
        self.stage_left.pop(cell, None)
        self.shares.pop(cell, None)
        self._line(cell, f"FAILED: {why}")

    def items(self, done: int, total: int) -> None:
        """A stage without cells has done so many of its items."""
        if self.bars is not None and (done == total or time.monotonic() - self.drawn >= 0.1):
            self.drawn = time.monotonic()
            left = (self.drawn - self.started) / done * (total - done)
            self.bars.update(self.stage_bar, total=total, completed=done, left=_left(left))
            self.bars.refresh()

    def stage_ended(self) -> None:
        """All cells of the stage are finished: the stages that follow read what they took."""
        self.outlook.took[self.stage] = self.estimate.total
        self.outlook.write()

    @property
    def _run_total(self) -> float:
        others = self.outlook.seconds_done(besides=self.stage) + self.outlook.seconds_left(besides=self.stage)
        return self.estimate.total + others

    def _update(self) -> None:
        if self.bars is None:
            return
        at_once = max(1, len(self.shares))
        left = sum(s * (1 - self.shares.get(cell, 0.0)) for cell, s in self.stage_left.items())
        run_left = left + self.outlook.seconds_left(besides=self.stage)
        self.stage_total = max(self.stage_total, left)
        running = list(self.shares)
        title = running[0].title if len(running) == 1 else f"{self.stage}, {len(running)} cells at once"
        self.bars.update(
            self.stage_bar,
            description=title if running else self.stage,
            total=self.stage_total,
            completed=self.stage_total - left,
            left=_left(left / at_once),
        )
        total = max(self._run_total, run_left)
        self.bars.update(
            self.run_bar, total=total, completed=total - run_left, left=_left(run_left / at_once)
        )
        self._redraw()

    def _redraw(self) -> None:
        now = time.monotonic()
        if self.bars is not None and now - self.drawn >= 0.1:
            self.drawn = now
            self.bars.refresh()

    def _line(self, cell: Cell, what: str) -> None:
        left = self.estimate.seconds_left + self.outlook.seconds_left(besides=self.stage)
        share = 1 - left / self._run_total if self._run_total else 1.0
        line = f"{cell.title}: {what}  [run {share:.0%}, {_left(left)}]"
        if self.bars is not None:
            self.bars.console.print(line, style="dim")
        else:
            print(line, flush=True)


def _left(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} left" if hours else f"{minutes}:{rest:02d} left"
