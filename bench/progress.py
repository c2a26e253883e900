"""Two bars: the whole run and the stage that is running, each with the time that is left."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.cells import Cell
from bench.estimate import Estimate

OnProgress = Callable[[int, int], None]


class RunProgress:
    """Shows how far the whole run and the running stage are.

    The whole run counts the seconds that its cells took or are expected to take, so that a bar at one half
    means half the time. Without a terminal it prints one line per finished cell instead.

    Args:
        estimate: of the run's cells.
        cells: of the running stage.
        title: of the running stage.
    """

    def __init__(self, estimate: Estimate, cells: list[Cell], title: str) -> None:
        self.estimate = estimate
        self.stage_left = {cell: estimate.seconds(cell) for cell in cells if not estimate.is_done(cell)}
        self.stage_total = sum(self.stage_left.values()) or 1.0
        self.title = title
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
        with Progress(*columns, console=self.console, refresh_per_second=5) as self.bars:
            self.run_bar = self.bars.add_task("whole run", total=self.estimate.total, left="")
            self.stage_bar = self.bars.add_task(self.title, total=self.stage_total, left="")
            self._update(None, 0.0)
            yield self
        self.bars = None

    def reused(self, cell: Cell) -> None:
        """A finished cell was found in the store."""
        self._line(cell, "reused")

    def running(self, cell: Cell) -> OnProgress:
        """A cell starts; returns what it calls with steps done and steps in all."""
        started = last = time.monotonic()

        def on_progress(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if done == total or now - last >= 0.1:
                last = now
                if done and now - started > 1:
                    self.stage_left[cell] = (now - started) * total / done
                self._update(cell, done / total)

        self._update(cell, 0.0)
        return on_progress

    def finished(self, cell: Cell, seconds: float, failure: str | None = None) -> None:
        """A cell has ended."""
        self.estimate.done(cell, seconds)
        self.stage_left.pop(cell, None)
        self._line(cell, f"{seconds:.1f} s" if failure is None else f"FAILED: {failure}")
        self._update(None, 0.0)

    def items(self, done: int, total: int) -> None:
        """A stage without cells has done so many of its items."""
        if self.bars is not None and (done == total or time.monotonic() - self.drawn >= 0.1):
            self.drawn = time.monotonic()
            left = (self.drawn - self.started) / done * (total - done)
            self.bars.update(self.stage_bar, total=total, completed=done, left=_left(left))

    def _update(self, cell: Cell | None, share: float) -> None:
        if self.bars is None:
            return
        left_of_cell = self.stage_left.get(cell, 0.0) * (1 - share) if cell else 0.0
        stage_left = sum(s for other, s in self.stage_left.items() if other != cell) + left_of_cell
        run_left = (
            self.estimate.seconds_left - sum(self.estimate.seconds(c) for c in self.stage_left) + stage_left
        )
        self.stage_total = max(self.stage_total, stage_left)
        self.bars.update(
            self.stage_bar,
            description=cell.title if cell else self.title,
            total=self.stage_total,
            completed=self.stage_total - stage_left,
            left=_left(stage_left),
        )
        total = max(self.estimate.total, run_left)
        self.bars.update(self.run_bar, total=total, completed=total - run_left, left=_left(run_left))

    def _line(self, cell: Cell, what: str) -> None:
        left = self.estimate.seconds_left
        share = 1 - left / self.estimate.total if self.estimate.total else 1.0
        line = f"{cell.title}: {what}  [run {share:.0%}, {_left(left)}]"
        if self.bars is not None:
            self.bars.console.print(line, style="dim")
        else:
            print(line, flush=True)


def _left(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} left" if hours else f"{minutes}:{rest:02d} left"
