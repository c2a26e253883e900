"""What a run says of itself while it is at work, for ``bench status`` in another terminal."""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.cells.files import STORE, show_json
from bench.cells.store.held_cells import Holder, has_gone, this_host, this_process

RUN_NOTE = STORE / "run.json"
WRITE_SECONDS = 1.0
# Of a run on another machine, of which only the note can be seen.
SILENT_SECONDS = 60.0


@dataclass
class RunNote:
    """A run of ``bench run``.

    Attributes:
        holder: the process that drives it.
        engine: where cells are computed.
        began: when, in seconds since the epoch.
        cells: in all, those that were in the store included.
        reused: that were in the store.
        done: that this run has computed.
        waiting: that have not begun.
        running: share of its steps that each running cell has done, by its title.
        failed: why each cell could not be computed, by its title.
        cells_a_minute: of this run; None before any is finished.
        seconds_left: until all are done.
        written: when this was said, in seconds since the epoch.
        ended: whether the run has ended by itself.
    """

    holder: dict[str, Any]
    engine: str
    began: float
    cells: int
    reused: int
    done: int = 0
    waiting: int = 0
    running: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    cells_a_minute: float | None = None
    seconds_left: float | None = None
    written: float = 0.0
    ended: bool = False

    @property
    def is_at_work(self) -> bool:
        """Whether the run goes on, as far as this machine can tell."""
        holder = Holder(**self.holder)
        if self.ended or has_gone(holder):
            return False
        return holder.host == this_host() or time.time() - self.written < SILENT_SECONDS


def new_note(engine: str, cells: int, reused: int) -> RunNote:
    """The note of a run of this process that begins now."""
    return RunNote(asdict(this_process("bench run")), engine, time.time(), cells, reused)


def write_note(note: RunNote) -> None:
    """Write the note; one that cannot be written stops nothing."""
    note.written = time.time()
    show_json(RUN_NOTE, asdict(note))


def read_note() -> RunNote | None:
    """The note of the latest run; None where there is none."""
    with suppress(OSError, ValueError, TypeError):
        return RunNote(**json.loads(RUN_NOTE.read_text(encoding="utf-8")))
    return None
