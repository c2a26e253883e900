"""Cells computed once more in a scratch folder, by the current code from the stored inputs."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from bench.cells import store
from bench.cells.files import CELL_FILE, STORE, cell_path
from bench.cells.keys import Keys
from bench.cells.records import CellRecord, Outdated, Provenance, read_record
from bench.protocol.cell import Cell, all_cells, built_on, cells_of
from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import Protocol
from bench.trust.compared_files import FileComparison, compared_file
from bench.trust.scratch import lend_cell, run_python, scratch_project
from bench.trust.verify.check import OnProgress
from imssl.device import hardware_name
from imssl.errors import UserError


@dataclass(frozen=True)
class Rerun:
    """A cell computed again.

    Attributes:
        title: of the cell.
        files: compared.
        elsewhere: what is another machine, device or package version than the record names; empty if none
            is, and then every bit must agree.
        seconds: that the cell took now.
        computed_for_it: titles of the cells that it builds on and that had to be computed first, as they
            were kept nowhere.
        failure: the documented reason for which it has failed now; empty where it has not.
    """

    title: str
    files: list[FileComparison]
    elsewhere: list[str] = field(default_factory=list)
    seconds: float = 0.0
    computed_for_it: list[str] = field(default_factory=list)
    failure: str = ""

    @property
    def equal(self) -> bool:
        """Whether it is the same bit for bit."""
        return not self.failure and all(file.equal for file in self.files)

    @property
    def agrees(self) -> bool:
        """Whether it is as it must be: equal, or made elsewhere at first and no further off than a seed."""
        return self.equal or (
            not self.failure
            and bool(self.elsewhere)
            and all(file.equal or file.within_seeds for file in self.files)
        )


def rerun_cells(protocol: Protocol, count: int, seed: int, on_progress: OnProgress) -> list[Rerun]:
    """Compute some finished cells again, drawn at random.

    Args:
        protocol: of the run.
        count: how many, at least 1.
        seed: of the draw.
        on_progress: called with how far the work is.

    Raises:
        UserError: no cell has results under today's code and settings, or a cell cannot be computed.
    """
    keys = Keys(protocol)
    records = {cell: read_record(cell_path(cell)) for cell in all_cells(protocol)}
    current = [
        cell
        for cell, record in records.items()
        if record is not None and record.status == "done" and record.key == keys.key(cell)
    ]
    if not current:
        raise UserError("no cell has results of today's code, settings and data. Run: dvc repro")
    drawn = np.random.default_rng(seed).choice(len(current), min(count, len(current)), replace=False)
    reruns = []
    for done, i in enumerate(drawn):
        on_progress(f"computing again: {current[i].title}", done, len(drawn))
        reruns.append(_rerun(current[i], cell_path(current[i]), keys, lambda *_: None))
    return reruns


def rerun_cell(cell: Cell, protocol: Protocol, on_progress: OnProgress) -> Rerun:
    """Compute one finished cell again, and what it builds on where that is kept nowhere.

    Args:
        cell: of the protocol.
        protocol: of the run.
        on_progress: called with the cell at work, and its steps.

    Raises:
        UserError: the cell has no results of today's code, settings and data, or cannot be computed.
    """
    keys = Keys(protocol)
    return _rerun(cell, finished_folder(cell, keys), keys, on_progress)


def finished_folder(cell: Cell, keys: Keys) -> Path:
    """Folder of a cell's results of today's code, settings and data, in results/ or in the store.

    Raises:
        UserError: there are none, or the cell has failed and has nothing to compare.
    """
    key, place = keys.key(cell), cell_path(cell)
    try:
        record = read_record(place)
    except Outdated as error:
        raise UserError(f"{cell.name} has no results to compare with: {error}") from None
    if record is None or record.key != key:
        stored = store.finished(cell, key)
        if stored is None:
            why = "has no results yet" if record is None else "was computed by other code, settings or data"
            raise UserError(
                f"{cell.name} {why}, so there is nothing that computing it again could be compared with. "
                f"Run: bench repro {cell.dvc_stage}"
            )
        record, place = stored, store.cell_folder(cell, key)
    if record.status == "failed":
        raise UserError(f"{cell.name} has no numbers to compare: it failed, {record.reason}")
    return place


def _rerun(cell: Cell, stored: Path, keys: Keys, on_progress: OnProgress) -> Rerun:
    old = read_record(stored)
    if old is None:
        raise UserError(f"{stored} holds no record of {cell.title}. Restore it with: dvc repro")
    with computed_again(cell, keys, on_progress) as again:
        names = sorted(old.files.keys() | again.record.files.keys())
        seeds = other_seed(cell, keys.protocol)
        return Rerun(
            title=cell.title,
            files=[compared_file(name, stored / name, again.folder / name, seeds) for name in names],
            elsewhere=made_elsewhere(cell, old, again.record.provenance),
            seconds=again.record.provenance.seconds,
            computed_for_it=[earlier.title for earlier in again.before],
            failure=again.record.reason or "",
        )


@dataclass(frozen=True)
class ComputedAgain:
    """What a second computation of a cell has left, for as long as its scratch project is there.

    Attributes:
        folder: with its files.
        record: of the cell.
        before: cells that it builds on and that had to be computed first, as they were kept nowhere.
    """

    folder: Path
    record: CellRecord
    before: list[Cell]


@contextmanager
def computed_again(
    cell: Cell, keys: Keys, on_progress: OnProgress, params: Path = PARAMS
) -> Iterator[ComputedAgain]:
    """Compute a cell in a scratch project whose store has what it builds on, and nothing of its own.

    Args:
        cell: which.
        keys: of the protocol.
        on_progress: called with the cell at work, and its steps.
        params: file that the protocol was read from.

    Raises:
        UserError: it cannot be computed.
    """
    with scratch_project(params) as folder:
        before = _lent(cell, keys, folder)
        ended = run_python(
            folder,
            ["-m", "bench.trust.scratch_cells", *(c.name for c in (*before, cell))],
            _of_each_cell(on_progress),
        )
        made = folder / STORE / "cells" / cell.stage / keys.key(cell)
        record = read_record(made) if ended.returncode == 0 else None
        if record is None:
            raise UserError(f"{cell.title} could not be computed again:\n{ended.stderr.strip()}")
        yield ComputedAgain(made, record, before)


def _lent(cell: Cell, keys: Keys, folder: Path) -> list[Cell]:
    """Lend a scratch project what a cell builds on; what is kept nowhere, in the order of computing it."""
    missing: list[Cell] = []
    for earlier in built_on(cell, keys.protocol):
        kept = store.kept(earlier, keys.key(earlier))
        if kept is not None:
            lend_cell(kept[0], earlier, folder)
        else:
            missing += [*_lent(earlier, keys, folder), earlier]
    return list(dict.fromkeys(missing))


def _of_each_cell(on_progress: OnProgress) -> Callable[[str], None]:
    """What passes on the lines that bench.trust.scratch_cells prints."""

    def tell(line: str) -> None:
        title, done, total = json.loads(line)
        on_progress(f"computing again: {title}", done, total)

    return tell


def other_seed(cell: Cell, protocol: Protocol) -> Path | None:
    """The same cell's folder under another seed, where there is one with results."""
    for other in cells_of(cell.stage, cell.dataset, cell.method, protocol):
        is_like = other.labels == cell.labels and other.seed != cell.seed
        if is_like and (cell_path(other) / CELL_FILE).is_file():
            return cell_path(other)
    return None


def made_elsewhere(cell: Cell, old: CellRecord, now: Provenance) -> list[str]:
    """What differs between where a cell was made and where it was made again.

    Args:
        cell: which.
        old: its record; that of the encoder that it builds on lies among the results.
        now: where it was made again, on this machine.

    Raises:
        UserError: the encoder's record cannot be read.
    """
    encoder = cell_path(Cell("pretrain", cell.dataset, cell.method, cell.seed))
    return other_origin(old.provenance, now, lambda: read_record(encoder))


def other_origin(then: Provenance, now: Provenance, pretrained: Callable[[], CellRecord | None]) -> list[str]:
    """What differs between two origins.

    Args:
        then: of a cell as it was made first.
        now: of the same cell made again, on this machine.
        pretrained: gives the record of the encoder that it builds on, None where there is none; asked only
            where the cell's own does not say enough.
    """
    devices = [(then.hardware, now.hardware)]
    if then.device == "CPU":  # the record does not say which; that of the encoder does
        devices, encoder = [], pretrained()
        # An encoder made on a GPU has no number of threads, and says nothing of the processor.
        if encoder and encoder.provenance.hardware != encoder.provenance.device:
            here = now.model_copy(update={"device": hardware_name(torch.device("cpu"))})
            devices = [(encoder.provenance.hardware, here.hardware)]
    pairs = [*devices, (f"Python {then.python}", f"Python {now.python}")]
    pairs += [
        (f"{name} {then.packages.get(name)}", f"{name} {now.packages.get(name)}")
        for name in sorted(then.packages.keys() | now.packages.keys())
    ]
    return [f"{before}, now {after}" for before, after in pairs if before != after]
