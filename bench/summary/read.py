"""Everything the report needs from disk, read once; a cell that cannot be used is a hole with its reason."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, TypeVar

import pandas as pd

from bench.cells.files import (
    CELL_FILE,
    HISTORY_FILE,
    LEFT_OUT_FILE,
    METRICS_FILE,
    VALIDATION_FILE,
    LeftOut,
    cell_path,
    data_folder,
    left_out_arrays,
    read_history,
)
from bench.cells.keys import Keys
from bench.cells.method_facts import reference_methods
from bench.cells.predictions import Predictions
from bench.cells.records import CellRecord, Outdated, read_record
from bench.cells.scores import number_rows
from bench.cells.store import cell_folder
from bench.machine.workers import side_by_side
from bench.protocol.cell import Cell, cells_of
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import CELL_STAGES, STAGES, Stage
from bench.summary.prediction_files import PredictionFiles
from bench.summary.tidy import TidyRow, checked_rows, tidy_table
from imssl.datasets.prepared import Card, read_card, read_samples
from imssl.errors import UserError
from imssl.metrics import metric_value

CellStatus = Literal["done", "missing", "failed", "stale", "damaged"]
# What has predictions of its own: a cell, and for the probes a block of the encoder.
Predicted = tuple[Cell, int | None]

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class CellState:
    """How a cell stands.

    Attributes:
        status: ``done``; ``missing``: never computed; ``failed``: for a documented reason; ``stale``:
            computed under other settings, code or data; ``damaged``: its files are not those it was
            finished with.
        reason: why there is no result; empty if there is one.
        record: cell.json, where there is a readable one.
    """

    status: CellStatus
    reason: str
    record: CellRecord | None = None


@dataclass(frozen=True)
class Results:
    """All that is known about a run.

    Attributes:
        cards: of the data sets that are prepared.
        unprepared: why the others are not, by data set.
        states: of every cell of the protocol, in its order.
        table: the tidy table, see bench.summary.tidy.
        predictions: on the test images, by cell; by cell and block for the probes.
        histories: of pretraining, one row per epoch.
        validation: the primary metric on all validation images, where it is defined: of the references' cells
            only, of which the stronger has to be found on other images than those of the test.
        attributes: such as sex and age, of the data sets whose card names any: a text column each, by id.
        left_out: linear CKA without each patient; cells of earlier versions have none.
    """

    cards: dict[str, Card]
    unprepared: dict[str, str]
    states: dict[Cell, CellState]
    table: pd.DataFrame
    predictions: dict[Predicted, Predictions]
    histories: dict[Cell, pd.DataFrame]
    validation: dict[Cell, float] = field(default_factory=dict)
    attributes: dict[str, pd.DataFrame] = field(default_factory=dict)
    left_out: dict[Cell, LeftOut] = field(default_factory=dict)

    def states_of(self, dataset: str, method: str) -> list[tuple[Cell, CellState]]:
        """The cells of a method on a data set, in the protocol's order."""
        return self._grouped_states.get((dataset, method), [])

    @cached_property
    def _grouped_states(self) -> dict[tuple[str, str], list[tuple[Cell, CellState]]]:
        grouped: dict[tuple[str, str], list[tuple[Cell, CellState]]] = {}
        for cell, state in self.states.items():
            grouped.setdefault((cell.dataset, cell.method), []).append((cell, state))
        return grouped


@dataclass(frozen=True)
class Located:
    """Where a cell lies.

    Attributes:
        folder: in which its files are.
        record: its cell.json; None where there is none.
    """

    folder: Path
    record: CellRecord | None


# Where a cell of a key is looked for; raises UserError where its record cannot be read.
Place = Callable[[Cell, str], Located]


def laid_out(cell: Cell, key: str) -> Located:
    """Among the results, where DVC keeps them."""
    folder = cell_path(cell)
    return Located(folder, read_record(folder))


def laid_out_or_finished(cell: Cell, key: str) -> Located:
    """Among the results; in the store where it is not laid out yet, as while a run is at work."""
    stored = cell_folder(cell, key)
    is_finished = (stored / CELL_FILE).is_file()
    try:
        located = laid_out(cell, key)
    except UserError:
        if not is_finished:
            raise
        return Located(stored, read_record(stored))
    is_current = located.record is not None and located.record.key == key
    return Located(stored, read_record(stored)) if is_finished and not is_current else located


def read_results(protocol: Protocol, place: Place = laid_out) -> Results:
    """Read what there is of every cell of the protocol. Nothing on disk makes this fail.

    Args:
        protocol: whose cells.
        place: where each is looked for.
    """
    cards, unprepared = _read_cards(protocol)
    keys, references = Keys(protocol), reference_methods(protocol)
    parts = side_by_side(
        [
            partial(_read_stage, stage, dataset, references, keys, cards, unprepared, place)
            for stage in CELL_STAGES
            for dataset in protocol.datasets
        ]
    )
    return Results(
        cards=cards,
        unprepared=unprepared,
        states=_united(part.states for part in parts),
        table=pd.concat([part.table for part in parts], ignore_index=True),
        predictions=_united(part.predictions for part in parts),
        histories=_united(part.histories for part in parts),
        validation=_united(part.validation for part in parts),
        left_out=_united(part.left_out for part in parts),
        attributes={dataset: table for dataset, card in cards.items() if len(table := _attributes(card))},
    )


@dataclass(frozen=True)
class _Part:
    """What is known of the cells of one stage on one data set, all methods; as in `Results`."""

    states: dict[Cell, CellState]
    table: pd.DataFrame
    predictions: dict[Predicted, Predictions]
    histories: dict[Cell, pd.DataFrame]
    validation: dict[Cell, float]
    left_out: dict[Cell, LeftOut]


def _read_stage(
    stage: Stage,
    dataset: str,
    references: list[str],
    keys: Keys,
    cards: dict[str, Card],
    unprepared: dict[str, str],
    place: Place,
) -> _Part:
    reader = PredictionFiles(cards[dataset]) if dataset in cards else None
    states: dict[Cell, CellState] = {}
    rows: dict[Cell, list[TidyRow]] = {}
    predictions: dict[Predicted, Predictions] = {}
    histories: dict[Cell, pd.DataFrame] = {}
    validation: dict[Cell, float] = {}
    left_out: dict[Cell, LeftOut] = {}
    protocol = keys.protocol
    for cell in (c for method in protocol.methods for c in cells_of(stage, dataset, method, protocol)):
        state, folder = _state(cell, keys, unprepared, place)
        if state.status == "done" and reader:
            files = _CellFiles(cell, state.record, folder)
            try:
                rows[cell] = files.rows()
                predictions |= files.predictions(reader)
                if cell.stage == "pretrain":
                    histories[cell] = files.history()
                if cell.method in references:
                    validation |= files.validation(reader, cards[dataset])
                left_out |= files.left_out()
            except UserError as error:
                rows.pop(cell, None)
                state = CellState("damaged", str(error), state.record)
        states[cell] = state
    table = tidy_table(rows, {cell: state.status for cell, state in states.items()})
    return _Part(states, table, predictions, histories, validation, left_out)


def _united(parts: Iterable[dict[Key, Value]]) -> dict[Key, Value]:
    return {key: value for part in parts for key, value in part.items()}


def _read_cards(protocol: Protocol) -> tuple[dict[str, Card], dict[str, str]]:
    cards, unprepared = {}, {}
    for dataset in protocol.datasets:
        try:
            cards[dataset] = read_card(data_folder(dataset))
        except UserError as error:
            unprepared[dataset] = str(error)
    return cards, unprepared


def _attributes(card: Card) -> pd.DataFrame:
    """Attributes of every sample by id; empty where the card names none, or samples.csv is damaged."""
    if not card.attributes:
        return pd.DataFrame()
    try:
        samples = read_samples(data_folder(card.name), card)
    except UserError:  # what reads the images says so, and `bench verify`
        return pd.DataFrame()
    return samples.set_index("id")[card.attributes].astype(str)


def _state(cell: Cell, keys: Keys, unprepared: dict[str, str], place: Place) -> tuple[CellState, Path]:
    """How a cell stands, and the folder that was looked at."""
    folder = cell_path(cell)
    if cell.dataset in unprepared:
        return CellState("missing", f"data set not prepared: {unprepared[cell.dataset]}"), folder
    try:
        key = keys.key(cell)
        located = place(cell, key)
    except Outdated as error:
        return CellState("stale", str(error)), folder
    except UserError as error:
        return CellState("damaged", str(error)), folder
    return _state_of(located.record, key), located.folder


def _state_of(record: CellRecord | None, key: str) -> CellState:
    if record is None:
        return CellState("missing", "not computed yet")
    if record.key != key:
        return CellState("stale", "computed under other settings, code or data; run: dvc repro", record)
    if record.status == "failed":
        return CellState("failed", record.reason or "no reason was recorded", record)
    return CellState("done", "", record)


class _CellFiles:
    """The files of a finished cell, each checked against the checksum in its record before it is read."""

    def __init__(self, cell: Cell, record: CellRecord | None, folder: Path) -> None:
        self.cell, self.folder = cell, folder
        self.checksums = record.files if record else {}
        self.costs = record.provenance.costs if record else {}

    def rows(self) -> list[TidyRow]:
        content = self._checked(METRICS_FILE)
        try:
            return checked_rows(json.loads(content)) + checked_rows(number_rows(self.costs))
        except ValueError as error:
            raise UserError(
                f"{self.folder / METRICS_FILE} does not hold a cell's numbers ({error})"
            ) from None

    def predictions(self, reader: PredictionFiles) -> dict[Predicted, Predictions]:
        names = STAGES[self.cell.stage].predictions or {}
        return {
            (self.cell, block): reader.read(self.folder / name, self._checked(name))
            for block, name in names.items()
        }

    def validation(self, reader: PredictionFiles, card: Card) -> dict[Cell, float]:
        """The primary metric on the validation images; empty where nothing is stored, or it is undefined."""
        if VALIDATION_FILE not in self.checksums:
            return {}
        stored = reader.read(self.folder / VALIDATION_FILE, self._checked(VALIDATION_FILE))
        value = metric_value(card.primary_metric, card.task, stored.labels, stored.probabilities)
        return {} if value is None else {self.cell: value}

    def left_out(self) -> dict[Cell, LeftOut]:
        if LEFT_OUT_FILE not in self.checksums:
            return {}
        return {self.cell: left_out_arrays(self.folder / LEFT_OUT_FILE, self._checked(LEFT_OUT_FILE))}

    def history(self) -> pd.DataFrame:
        return read_history(self.folder / HISTORY_FILE, self._checked(HISTORY_FILE))

    def _checked(self, name: str) -> bytes:
        file = self.folder / name
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            raise UserError(f"{file} is missing. Restore it with: dvc repro") from None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from None
        if hashlib.sha256(content).hexdigest() != self.checksums.get(name):
            raise UserError(f"{file} has changed since the cell was finished. Restore it with: dvc repro")
        return content
