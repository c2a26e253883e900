"""Follow a run and log its curves: ``python -m bench.tracking.follow TRACKER``, in a process of its own.

It reads what is on disk: the histories of finished cells, and the notes on running ones. It holds no lock,
and the run does not know of it, so that logging can neither change a number nor stop a cell.
"""

import contextlib
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pandas as pd

from bench.cells.files import CELL_FILE, HISTORY_FILE, read_table
from bench.cells.keys import Keys
from bench.cells.store import cell_folder
from bench.cells.store.running import NO_CURVE, running_cells
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import Protocol, read_protocol
from bench.tracking.logged import Logged, LoggedPoints
from bench.tracking.tracker import Tracker, tracker_of
from imssl.errors import UserError

# Between two looks at the project.
SECONDS = 5.0
# By quantity and epoch.
Points = dict[tuple[str, int], float]


class Exporter:
    """Logs every point once.

    Args:
        tracker: takes the points.
        logged: which it has already.
    """

    def __init__(self, tracker: Tracker, logged: LoggedPoints) -> None:
        self._tracker, self._logged = tracker, logged
        self._finished: set[str] = set()

    def export(self, cells: Mapping[str, Cell]) -> None:
        """Log what is new since the last time.

        Args:
            cells: of the protocol, by key.
        """
        for key, running in running_cells().items():
            if key in cells:
                points = {
                    (quantity, epoch): value
                    for quantity, values in running.curves.items()
                    for epoch, value in zip(running.epochs.get(quantity, []), values, strict=False)
                }
                self._log(cells[key], key, points)
        for key, cell in cells.items():
            if key not in self._finished and (cell_folder(cell, key) / CELL_FILE).is_file():
                history = cell_folder(cell, key) / HISTORY_FILE
                self._log(cell, key, points_of(read_table(history)) if history.is_file() else {})
                self._tracker.end(key)
                self._finished.add(key)

    def _log(self, cell: Cell, key: str, points: Points) -> None:
        known = self._logged.of(key)
        new: Logged = {}
        for (quantity, epoch), value in points.items():
            if epoch not in known.get(quantity, []):
                self._tracker.log(cell.title, key, quantity, epoch, value)
                new.setdefault(quantity, []).append(epoch)
        if new:
            self._logged.add(key, new)


def points_of(history: pd.DataFrame) -> Points:
    """The points of a history: a column for each quantity, a row for each epoch."""
    return {
        (str(quantity), int(epoch)): float(value)
        for quantity in history.columns
        if quantity not in NO_CURVE
        for epoch, value in zip(history["epoch"], history[quantity], strict=True)
        if pd.notna(value)
    }


def cells_by_key(protocol: Protocol) -> dict[str, Cell]:
    """The cells of a protocol by key; none before the data are prepared, which decide the keys."""
    keys = Keys(protocol)
    try:
        return {keys.key(cell): cell for cell in all_cells(protocol)}
    except UserError:
        return {}


@contextlib.contextmanager
def logging_to(name: str | None) -> Iterator[None]:
    """Log the curves of what runs in the block, if a tracker is named; at its end, what is left of them."""
    if name is None:
        yield
        return
    process = subprocess.Popen([sys.executable, "-m", "bench.tracking.follow", name], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.communicate()  # the end of its input is the end of the run


def main() -> None:
    """Log until standard input ends; a failure is one message, and the run goes on without."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run ends first, then what it left is logged
    name = sys.argv[1]
    try:
        protocol = read_protocol()
        tracker = tracker_of(name, f"imssl-bench-{protocol.profile}")
        exporter, has_ended = Exporter(tracker, LoggedPoints(name)), False
        while not has_ended:
            has_ended = bool(select.select([sys.stdin], [], [], SECONDS)[0])
            exporter.export(cells_by_key(protocol))
        tracker.close()
    except Exception as error:
        print(f"--log {name}: {error or type(error).__name__}. The run goes on without.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
