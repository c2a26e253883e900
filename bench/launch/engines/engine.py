"""What an engine is: it takes cells whose upstream cells are finished, and says what becomes of them."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from bench.launch.compute import Ended
from bench.protocol.cell import Cell


class Event(NamedTuple):
    """News of a cell.

    Attributes:
        cell: which.
        steps: done, and in all; where it is not known yet, (0, 1).
        ended: how it ended; None while it runs.
    """

    cell: Cell
    steps: tuple[int, int] = (0, 1)
    ended: Ended | None = None


class Engine(Protocol):
    """Computes cells into the store by calling `bench.launch.compute.attempt_cell` somewhere.

    An engine knows no order and keeps no list: `bench.launch.engines.fill` gives it a cell when that can be
    computed and there is room.
    """

    @property
    def room(self) -> int:
        """How many more cells it takes now."""
        ...

    def submit(self, cell: Cell) -> None:
        """Begin a cell."""
        ...

    def events(self) -> Iterator[Event]:
        """What has happened since; waits until something has, or for a short while."""
        ...

    def close(self) -> None:
        """End what still runs; it keeps its checkpoints."""
        ...
