"""Notes on cells while they are computed: how far each is, and its training curves so far.

``bench status`` reads them from another terminal, and engines whose cells run on other machines. A note is
only for showing, so it is not synced to the disk, and one that cannot be written stops nothing.
"""

import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from bench.cells.files import STORE, show_json
from bench.cells.store.held_cells import CLAIMS, is_held

RUNNING = STORE / "running"
WRITE_SECONDS = 1.0
# Columns of a history that are no curve of the training.
NO_CURVE = {"epoch", "learning_rate", "images_per_second"}


@dataclass
class RunningCell:
    """A cell that is being computed.

    Attributes:
        title: of the cell.
        host: name of the machine that computes it.
        began: when, in seconds since the epoch, by that machine's clock.
        steps: done, and in all; (0, 1) where it is not known yet.
        first_step: of this attempt: more than 0 where it went on from a checkpoint.
        seconds: since it began.
        curves: values of each quantity, one per epoch, in which it was measured.
        epochs: these epochs, by quantity.
    """

    title: str
    host: str
    began: float
    steps: tuple[int, int] = (0, 1)
    first_step: int = 0
    seconds: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=dict)
    epochs: dict[str, list[int]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of its steps that are done."""
        return self.steps[0] / max(1, self.steps[1])

    @property
    def seconds_left(self) -> float | None:
        """At the pace of this attempt; None before that is known."""
        taken = self.steps[0] - self.first_step
        return self.seconds / taken * (self.steps[1] - self.steps[0]) if taken > 0 else None


class RunningNote:
    """The note on a cell of this process; it is written at most once a second.

    Args:
        title: of the cell.
        key: of the cell.
    """

    def __init__(self, title: str, key: str) -> None:
        self._cell = RunningCell(title, socket.gethostname(), time.time())
        self._file = RUNNING / f"{key}.json"
        self._clock = time.monotonic()
        self._written = float("-inf")
        self._write()

    def step(self, done: int, total: int) -> None:
        """So many steps are done."""
        if self._cell.steps == (0, 1):
            self._cell.first_step = done - 1
        self._cell.steps = (done, total)
        self._write()

    def epoch(self, row: Mapping[str, float | None]) -> None:
        """An epoch has ended, with a row of the history."""
        for name, value in row.items():
            if value is not None and name not in NO_CURVE:
                self._cell.curves.setdefault(name, []).append(float(value))
                self._cell.epochs.setdefault(name, []).append(int(row["epoch"] or 0))
        self._write()

    def remove(self) -> None:
        """The cell is no longer computed."""
        self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        now = time.monotonic()
        if now - self._written < WRITE_SECONDS:
            return
        self._written, self._cell.seconds = now, now - self._clock
        show_json(self._file, asdict(self._cell))


def running_cell(key: str) -> RunningCell | None:
    """The cell of a key if it is being computed now; a note that a kill has left behind does not count."""
    if not is_held(CLAIMS / key):
        return None
    with suppress(OSError, ValueError, TypeError):
        content = json.loads((RUNNING / f"{key}.json").read_text(encoding="utf-8"))
        return RunningCell(**content | {"steps": tuple(content["steps"])})
    return None


def running_cells() -> dict[str, RunningCell]:
    """All cells that are being computed now, on any machine, by key; the one that began first comes first."""
    noted = {file.stem: running_cell(file.stem) for file in RUNNING.glob("*.json")}
    cells = {key: cell for key, cell in noted.items() if cell is not None}
    return dict(sorted(cells.items(), key=lambda item: item[1].began))
