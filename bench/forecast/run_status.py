"""How far a run is, seen from another process: by what the run says of itself, or by what is in the store."""

import time
from dataclasses import dataclass
from typing import NamedTuple

from bench.cells.files import CELL_FILE
from bench.cells.keys import Keys
from bench.cells.records import read_record
from bench.cells.store import cell_folder
from bench.cells.store.running import RunningCell, running_cells
from bench.forecast.estimate import RunEstimate
from bench.forecast.run_note import RunNote, read_note
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import Protocol
from imssl.errors import UserError

# Without a run that counts them itself, the pace is that of the cells finished in these seconds.
RECENT_SECONDS = 600.0


@dataclass(frozen=True)
class RunningRow:
    """A cell that is being computed.

    Attributes:
        title: of the cell.
        host: that computes it; empty where it does not share this folder.
        share: of its steps that are done.
        seconds: since it began; None where that is not known.
        seconds_left: at its own pace; None where that is not known.
        curves: values so far of each quantity of its training.
    """

    title: str
    host: str
    share: float
    seconds: float | None
    seconds_left: float | None
    curves: dict[str, list[float]]


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes:
        engine: where cells are computed, such as ``local``; empty while no ``bench run`` is at work.
        cells: of the protocol, or of what the run was asked for.
        done: that are in the store.
        waiting: that have not begun.
        running: those that are being computed.
        failed: why cells failed, by title: those that could not be computed, and those that diverged.
        cells_a_minute: None where none was finished lately.
        seconds_left: until all are done; None where nothing is left, or nothing is at work.
    """

    engine: str
    cells: int
    done: int
    waiting: int
    running: list[RunningRow]
    failed: dict[str, str]
    cells_a_minute: float | None
    seconds_left: float | None


def run_status(protocol: Protocol) -> RunStatus:
    """How far the run of this folder is, whoever drives it; nothing is computed or waited for."""
    note = read_note()
    running = list(running_cells().values())
    if note is not None and note.is_at_work:
        return _as_the_run_says(note, running)
    return _by_the_store(protocol, running, note)


def _as_the_run_says(note: RunNote, running: list[RunningCell]) -> RunStatus:
    rows = [_row(cell) for cell in running]
    seen = {cell.title for cell in running}
    rows += [
        RunningRow(title, "", share, None, None, {})
        for title, share in note.running.items()
        if title not in seen
    ]
    since = time.time() - note.written
    return RunStatus(
        engine=note.engine,
        cells=note.cells,
        done=note.reused + note.done,
        waiting=note.waiting,
        running=rows,
        failed=note.failed,
        cells_a_minute=note.cells_a_minute,
        seconds_left=None if note.seconds_left is None else max(0.0, note.seconds_left - since),
    )


def _by_the_store(protocol: Protocol, running: list[RunningCell], note: RunNote | None) -> RunStatus:
    keys = Keys(protocol)
    cells = list(all_cells(protocol))
    finished = {cell: state for cell in cells if (state := _finished(cell, keys)) is not None}
    failed = {} if note is None else dict(note.failed)
    for cell, state in finished.items():
        failed.pop(cell.title, None)
        if state.reason is not None:
            failed[cell.title] = state.reason
    recent = [state.when for state in finished.values() if time.time() - state.when < RECENT_SECONDS]
    minutes = (time.time() - min(recent)) / 60 if recent else 0.0
    left = None
    if running:
        measured = {cell: state.seconds for cell, state in finished.items()}
        left = RunEstimate(keys, cells, measured=measured).seconds_left / len(running)
    return RunStatus(
        engine="",
        cells=len(cells),
        done=len(finished),
        waiting=max(0, len(cells) - len(finished) - len(running)),
        running=[_row(cell) for cell in running],
        failed=failed,
        cells_a_minute=len(recent) / minutes if running and minutes > 0.05 else None,
        seconds_left=left,
    )


class _Finished(NamedTuple):
    """A cell of the store.

    Attributes:
        when: it was finished, in seconds since the epoch.
        seconds: that it took.
        reason: why it failed; None if it did not.
    """

    when: float
    seconds: float
    reason: str | None


def _finished(cell: Cell, keys: Keys) -> _Finished | None:
    try:
        folder = cell_folder(cell, keys.key(cell))
        record = read_record(folder)
        if record is None:
            return None
        return _Finished((folder / CELL_FILE).stat().st_mtime, record.provenance.seconds, record.reason)
    except (UserError, OSError):  # its data are not prepared, or it is damaged
        return None


def _row(cell: RunningCell) -> RunningRow:
    return RunningRow(cell.title, cell.host, cell.share, cell.seconds, cell.seconds_left, cell.curves)
