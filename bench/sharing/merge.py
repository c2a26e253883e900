"""Bring in finished cells of the same protocol from another checkout, and name why others are left out."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.cells import store
from bench.cells.files import CELL_FILE, RESULTS, STORE, cell_path
from bench.cells.keys import Keys
from bench.cells.records import CellRecord, cell_of, mixed_versions, read_record
from bench.cells.store.adopting import adopt
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import CELL_STAGES, STAGES
from bench.sharing.differences import Differences
from imssl.errors import UserError


@dataclass
class Merged:
    """What has come of a merge.

    Attributes:
        brought_in: cells that are now in the store.
        had: how many of the other's cells were there before.
        refused: cells of this protocol that were left out, by the reason.
        elsewhere: how many cells of data sets, methods, seeds or label sets that params.yaml does not name.
        hardware: how many cells each device has made, of both sides and of those computed on a device.
        versions: of libraries that the cells of both sides mix, see `mixed_versions`.
    """

    brought_in: list[Cell] = field(default_factory=list)
    had: int = 0
    refused: dict[str, list[Cell]] = field(default_factory=dict)
    elsewhere: Counter[str] = field(default_factory=Counter)
    hardware: Counter[str] = field(default_factory=Counter)
    versions: dict[str, dict[str, int]] = field(default_factory=dict)


def merge(other: Path, protocol: Protocol) -> Merged:
    """Bring the finished cells of another checkout into this one's store.

    Nothing of this checkout is replaced, and nothing of the other one is run: cells are files, checked
    against the checksums that they were finished with, and taken if they have the key that params.yaml, code
    and data of this checkout give.

    Args:
        other: its folder.
        protocol: of this checkout, whose data sets are prepared.

    Raises:
        UserError: a data set is not prepared here, so nobody can say which cells belong to it.
    """
    keys, merged, differences = Keys(protocol), Merged(), Differences(protocol, other)
    cells, records = list(all_cells(protocol)), list[CellRecord]()
    adopt(cells, keys)
    for cell in cells:
        key = keys.key(cell)
        had = store.finished(cell, key)
        if had is not None:
            records.append(had)
        folders = [other / cell_path(cell), other / STORE / "cells" / cell.stage / key]
        there = [folder for folder in folders if (folder / CELL_FILE).is_file()]
        if not there:
            continue
        if any(_key(folder) == key for folder in there) and had is not None:
            merged.had += 1
        elif brought := _brought_in(cell, key, there):
            merged.brought_in.append(cell)
            if had is None:
                records.append(brought)
        else:
            merged.refused.setdefault(_reason(cell, key, there[0], differences), []).append(cell)
    _count_elsewhere(merged, other, protocol)
    on_device = [record for record in records if STAGES[record.stage].on_device]
    merged.hardware.update(record.provenance.hardware for record in on_device)
    merged.versions = mixed_versions(records)
    return merged


def _brought_in(cell: Cell, key: str, folders: list[Path]) -> CellRecord | None:
    """The record of a cell after it was brought in from one of these folders; None where none would do."""
    if any(store.bring_in(cell, key, folder) for folder in folders):
        return read_record(store.cell_folder(cell, key))
    return None


def _key(folder: Path) -> str:
    try:
        record = read_record(folder)
    except UserError:
        return ""
    return record.key if record else ""


def _reason(cell: Cell, key: str, folder: Path, differences: Differences) -> str:
    try:
        record = read_record(folder)
    except UserError as error:
        return str(error).splitlines()[0].split(". Run: dvc")[0]
    if record is None or record.key == key:
        return "files that are not as they were when the cell was finished"
    return differences.of(cell)


def _count_elsewhere(merged: Merged, other: Path, protocol: Protocol) -> None:
    wanted = set(all_cells(protocol))
    for record in _records(other / RESULTS):
        cell = cell_of(record)
        if cell in wanted:
            continue
        if record.dataset not in protocol.datasets:
            merged.elsewhere[f"data set {record.dataset}"] += 1
        elif record.method not in protocol.methods:
            merged.elsewhere[f"method {record.method}"] += 1
        elif record.seed not in protocol.seeds:
            merged.elsewhere[f"seed {record.seed}"] += 1
        else:
            merged.elsewhere["other label sets"] += 1


def _records(results: Path) -> Iterator[CellRecord]:
    for stage in CELL_STAGES:
        for file in sorted(results.glob(f"*/{stage}/**/{CELL_FILE}")):
            try:
                record = read_record(file.parent)
            except UserError:
                continue
            if record is not None and record.stage == stage:
                yield record
