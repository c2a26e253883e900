"""Fill the store: compute cells on an engine, each as soon as the cells that it builds on are finished."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from bench.cells.keys import Keys
from bench.forecast.estimate import RunEstimate
from bench.forecast.makespan import longest_ways
from bench.launch.compute import Ended
from bench.launch.engines.engine import Engine, Event
from bench.machine.stop import StopRequest
from bench.protocol.cell import Cell, built_on
from bench.protocol.protocol import Protocol

# A process may be killed for what others did; after so many times its cell is to blame.
MOST_ATTEMPTS = 3


class CellProgress(Interface):
    """What is reported of the cells while they are computed, to be shown."""

    def running(self, cell: Cell, done: int, total: int) -> None:
        """A cell has done so many of its steps."""
        ...

    def finished(self, cell: Cell, seconds: float, failure: str | None = None) -> None:
        """A cell is in the store; with a reason where it has failed for a documented one."""
        ...

    def given_up(self, cell: Cell, why: str) -> None:
        """A cell is not in the store and will not be."""
        ...


@dataclass
class Outcome:
    """What became of the cells.

    Attributes:
        done: cells that are in the store now.
        diverged: those among them that failed for a documented reason, and why.
        failed: cells that could not be computed, and why.
        skipped: cells that build on one that failed.
        outdated: why all others were left: the code was saved in the meantime; empty where it was not.
        stopped: whether the run was asked to stop.
    """

    done: list[Cell] = field(default_factory=list)
    diverged: dict[Cell, str] = field(default_factory=dict)
    failed: dict[Cell, str] = field(default_factory=dict)
    skipped: list[Cell] = field(default_factory=list)
    outdated: str = ""
    stopped: bool = False


def fill(
    missing: Sequence[Cell],
    keys: Keys,
    estimate: RunEstimate,
    engine: Engine,
    progress: CellProgress,
    stop: StopRequest | None = None,
    places: Mapping[Cell, int] | None = None,
) -> Outcome:
    """Compute cells into the store.

    A cell that fails for good fails alone: what builds on it is skipped, and the rest is finished.

    Args:
        missing: cells; what they build on is among them or finished.
        keys: of the protocol's cells.
        estimate: how long they take, for their order: what most work waits for comes first.
        engine: computes them.
        progress: what is reported of them goes there.
        places: of cells in an order that goes before that; those of equal places go by what waits for them.
        stop: whether this process has been asked to leave; what runs is then left to `Engine.close`.
    """
    outcome, attempts = Outcome(), dict.fromkeys(missing, 0)
    waiting = _Waiting(missing, keys.protocol, estimate, places or {})
    running: set[Cell] = set()
    while running or (waiting.ready and not outcome.outdated and not outcome.stopped):
        while waiting.ready and engine.room > 0 and not outcome.outdated and not outcome.stopped:
            cell = waiting.take()
            attempts[cell] += 1
            running.add(cell)
            engine.submit(cell)
        if stop is not None and stop.received:
            outcome.stopped = True
            break
        for event in engine.events():
            if event.ended is None:
                progress.running(event.cell, *event.steps)
                continue
            running.discard(event.cell)
            if event.ended.how == "lost" and attempts[event.cell] < MOST_ATTEMPTS:
                waiting.again(event.cell)
            else:
                _note(event, event.ended, outcome, waiting, progress)
    return outcome


def _note(event: Event, ended: Ended, outcome: Outcome, waiting: "_Waiting", progress: CellProgress) -> None:
    cell = event.cell
    if ended.how == "done":
        outcome.done.append(cell)
        if ended.message:
            outcome.diverged[cell] = ended.message
        waiting.finished(cell)
        progress.finished(cell, ended.seconds, ended.message or None)
    elif ended.how == "outdated":
        outcome.outdated = ended.message
    elif ended.how == "stopped":
        outcome.stopped = True
    else:
        outcome.failed[cell] = ended.message
        progress.given_up(cell, ended.message)
        for dependant in waiting.drop_dependants(cell):
            outcome.skipped.append(dependant)
            progress.given_up(dependant, f"skipped, as it builds on {cell.title}")


class _Waiting:
    """Cells that are not computed yet; the lowest place first, then the longest way to the end of the run."""

    def __init__(
        self,
        missing: Sequence[Cell],
        protocol: Protocol,
        estimate: RunEstimate,
        places: Mapping[Cell, int],
    ) -> None:
        self._first = places
        wanted = set(missing)
        self.needs = {cell: wanted.intersection(built_on(cell, protocol)) for cell in missing}
        self.dependants: dict[Cell, list[Cell]] = {cell: [] for cell in missing}
        for cell, needs in self.needs.items():
            for other in needs:
                self.dependants[other].append(cell)
        self._place = {cell: place for place, cell in enumerate(missing)}
        self._way = longest_ways(self.needs, {cell: estimate.seconds(cell) for cell in missing})
        self.ready: list[tuple[int, float, int, Cell]] = []
        for cell in missing:
            if not self.needs[cell]:
                self.again(cell)

    def take(self) -> Cell:
        """The next cell that can be computed."""
        return heapq.heappop(self.ready)[3]

    def again(self, cell: Cell) -> None:
        """A cell can be computed."""
        heapq.heappush(self.ready, (self._first.get(cell, 0), -self._way[cell], self._place[cell], cell))

    def finished(self, cell: Cell) -> None:
        """What waited for the cell alone can be computed."""
        for dependant in self.dependants[cell]:
            if dependant in self.needs:  # not dropped, as it builds on a cell that failed
                self.needs[dependant].discard(cell)
                if not self.needs[dependant]:
                    self.again(dependant)

    def drop_dependants(self, cell: Cell) -> list[Cell]:
        """Take out what builds on a cell, directly or not, and has not been dropped before."""
        dropped = []
        for dependant in self.dependants[cell]:
            if self.needs.pop(dependant, None) is not None:
                dropped += [dependant, *self.drop_dependants(dependant)]
        return dropped
