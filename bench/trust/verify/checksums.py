"""Checksums: data against its card, cells against their record, outputs against dvc.lock."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bench.cells.files import CELL_FILE, cell_path, data_folder
from bench.cells.keys import Keys
from bench.cells.records import read_record
from bench.cells.store import file_checksums
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.report.leaderboard import LEADERBOARD
from bench.report.pages.checks_panel import without_checks
from bench.trust.verify.check import Check
from imssl.datasets.prepared import read_card
from imssl.errors import UserError
from imssl.regular_file import why_not_regular

LOCK = Path("dvc.lock")


def check_data(protocol: Protocol) -> Check:
    """images.npy and samples.csv of every data set against its card."""
    check = Check("data files against their card")
    for dataset in protocol.datasets:
        folder = data_folder(dataset)
        try:
            card = read_card(folder)
        except UserError as error:
            check.compare(folder, "a prepared data set", _first_line(error))
            continue
        for name, checksum in card.checksums.items():
            check.compare(folder / name, checksum, _digest(folder / name, "sha256"))
    return check


def check_cells(protocol: Protocol, cells: list[Cell]) -> Check:
    """Every file of every cell against cell.json, cell.json against its own checksum and the cell's key."""
    check = Check("files of the cells against cell.json")
    keys, unsealed = Keys(protocol), 0
    for cell in cells:
        folder = cell_path(cell)
        try:
            record = read_record(folder)
        except UserError as error:
            check.compare(folder / CELL_FILE, "a whole record", _first_line(error))
            continue
        if record is None:
            continue
        present = file_checksums(folder)
        for name in sorted(record.files.keys() | present.keys()):
            check.compare(folder / name, record.files.get(name, "no such file"), present.get(name, "missing"))
        # The key is a hash of code, settings and data: another one means results of another protocol.
        check.compare(f"key in {folder / CELL_FILE}", keys.key(cell), record.key)
        unsealed += record.checksum is None
    if unsealed:
        check.notes.append(f"{unsealed} records were written without a checksum of their own")
    return check


def check_lock() -> Check:
    """Every output of every stage against the MD5 in dvc.lock."""
    check = Check("outputs against dvc.lock")
    reason = why_not_regular(LOCK.stat()) if LOCK.exists() else None
    if reason:
        raise UserError(f"{LOCK} {reason}. Delete it and run: dvc repro")
    if not LOCK.exists():
        check.notes.append("there is no dvc.lock: the run did not end, or it was not run by DVC")
        return check
    for path, checksum in _locked_outputs():
        check.compare(path, checksum, _dvc_digest(path))
    return check


def _locked_outputs() -> Iterator[tuple[Path, str]]:
    try:
        content: Any = YAML(typ="safe").load(LOCK)
        for stage in content["stages"].values():
            for output in stage.get("outs", []):
                yield Path(output["path"]), str(output["md5"])
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{LOCK} is not what DVC writes ({error!r}). Delete it and run: dvc repro") from None


def _dvc_digest(path: Path) -> str:
    """The MD5 that DVC 3 notes: of a file its content's, of a folder that of the list of its files.

    `bench report` puts into the leaderboard what was last checked; DVC's has nothing there.
    """
    if path == LEADERBOARD and path.is_file():
        return hashlib.md5(without_checks(path.read_bytes()), usedforsecurity=False).hexdigest()
    if not path.is_dir():
        return _digest(path, "md5")
    # DVC's order is that of the whole text, in which moco-barlow/... comes before moco/...
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    entries = [{"md5": _digest(path / file, "md5"), "relpath": file} for file in files]
    return (
        hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
    )


def _digest(file: Path, algorithm: str) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(
                stream, lambda: hashlib.new(algorithm, usedforsecurity=False)
            ).hexdigest()
    except FileNotFoundError:
        return "missing"


def _first_line(error: UserError) -> str:
    return str(error).splitlines()[0]
