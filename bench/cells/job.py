"""A cell at work: what a stage's `compute` is given, and where it finds the cells that it builds on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cells import store
from bench.cells.files import cell_path, data_folder
from bench.cells.keys import Keys
from bench.cells.records import CellRecord, read_record
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import Stage
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.errors import Diverged, UserError
from imssl.settings.labels import LabelSet

if TYPE_CHECKING:
    import torch

# Called with how many of a cell's steps are done, and of how many.
OnProgress = Callable[[int, int], None]
# Called with a row of a training's history, when an epoch has ended.
OnEpoch = Callable[[Mapping[str, float | None]], None]


@dataclass(frozen=True)
class Job:
    """One cell that is to be computed.

    Attributes:
        cell: which.
        keys: of the protocol's cells.
        folder: where its files go; it becomes the finished cell as a whole or not at all.
        on_progress: to be called now and then.
        on_epoch: to be called after each epoch of a training.
        already_read: the cell's data set, where other cells of this process or its forks read it too.
        costs: what the stage measures of its own work, by name; it is kept with the provenance, apart from
            what the key decides.
    """

    cell: Cell
    keys: Keys
    folder: Path
    on_progress: OnProgress
    on_epoch: OnEpoch = lambda row: None
    already_read: Prepared | None = None
    costs: dict[str, float] = field(default_factory=dict)

    @property
    def protocol(self) -> Protocol:
        """What was asked for."""
        return self.keys.protocol

    @property
    def key(self) -> str:
        """Of the cell."""
        return self.keys.key(self.cell)

    @property
    def labels(self) -> LabelSet:
        """How many labels the cell may use, in a stage with a cell per label set."""
        if self.cell.labels is None:
            raise ValueError(f"{self.cell.title} has no label set of its own")
        return self.cell.labels

    @cached_property
    def prepared(self) -> Prepared:
        """The cell's data set, checked against its card."""
        return self.already_read or read_prepared(data_folder(self.cell.dataset))

    @cached_property
    def device(self) -> "torch.device":
        """Where the cell computes."""
        # Imported here: torch takes seconds, and some stages do without.
        from imssl.device import select_device

        return select_device(self.protocol.hardware)

    @property
    def checkpoint(self) -> Path:
        """Where it keeps what it needs to go on after a kill."""
        return store.checkpoint_file(self.key)

    def built_on(self, stage: Stage, labels: LabelSet | None = None) -> Path:
        """Folder of a finished cell of an earlier stage, of the same data set, method and seed.

        It is read from the store, whose cells are finished whether or not DVC has laid them out yet.

        Raises:
            Diverged: that cell has failed, and so does this one.
            UserError: it is missing, of other settings, code or data, or not as it was finished. What is
                built on it would be kept under a key that promises something else.
        """
        source = Cell(stage, self.cell.dataset, self.cell.method, self.cell.seed, labels)
        key = self.keys.key(source)
        record = store.finished(source, key)
        folder = store.cell_folder(source, key)
        if record is None:
            # Not in the store, but perhaps among the results: after `dvc pull`, or in a scratch project.
            folder = cell_path(source)
            record = self._intact_result(source, folder, key)
        if record.status == "failed":
            raise Diverged(f"{source.title} failed: {record.reason}")
        return folder

    def _intact_result(self, source: Cell, folder: Path, key: str) -> CellRecord:
        record = read_record(folder)
        if record is None:
            raise UserError(
                f"{folder} holds no finished cell, and {self.cell.title} builds on it. Run: dvc repro"
            )
        if record.key != key:
            raise UserError(
                f"{folder} was computed under other settings, code or data, and {self.cell.title} builds on "
                "it. Run: dvc repro"
            )
        checksums = store.file_checksums(folder)
        wrong = sorted(name for name, _ in record.files.items() ^ checksums.items())
        if wrong and record.status == "done":
            raise UserError(
                f"{folder / wrong[0]} is not as it was when {source.title} was finished: it has changed, is "
                f"missing or does not belong there. Delete {folder} and run: dvc repro"
            )
        return record
