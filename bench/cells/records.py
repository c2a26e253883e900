"""cell.json: what a cell is, how it ended, and where its numbers come from."""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.cells.files import CELL_FILE
from imssl.durable import write_text
from imssl.errors import UserError

SCHEMA_VERSION = 1


class Provenance(BaseModel):
    """Where a cell's numbers come from.

    Attributes:
        started: UTC, ISO 8601.
        seconds: of the computation.
        commit: git revision, None outside a repository.
        clean: whether the working tree was; None outside a repository.
        device: kind of device and its name.
        python: version.
        packages: versions of the libraries that can move a number.
        command: that computes this cell again.
    """

    model_config = ConfigDict(extra="forbid")

    started: str
    seconds: float
    commit: str | None
    clean: bool | None
    device: str
    python: str
    packages: dict[str, str]
    command: str


class CellRecord(BaseModel):
    """cell.json: what a cell is, how it ended, and the checksums of its files.

    Attributes:
        schema_version: of all files of the cell.
        key: hash of everything that decides its numbers.
        stage: of the pipeline.
        dataset: id.
        method: id.
        seed: of the run.
        fraction: share of the labels, for fine-tuning only.
        mode: ``full`` or ``frozen``, for fine-tuning only.
        status: ``done``, or ``failed`` for a documented failure such as a diverged loss.
        reason: why it failed.
        files: SHA-256 by name.
        provenance: where the numbers come from.
        checksum: SHA-256 of the record without this field; None in a record that was never sealed.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    key: str
    stage: str
    dataset: str
    method: str
    seed: int
    fraction: float | None
    mode: str | None
    status: Literal["done", "failed"]
    reason: str | None
    files: dict[str, str]
    provenance: Provenance
    checksum: str | None = None

    def own_checksum(self) -> str:
        """SHA-256 of what the record says."""
        content = self.model_dump(mode="json", exclude={"checksum"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_record(folder: Path, record: CellRecord) -> CellRecord:
    """Seal a record with its checksum, write it as cell.json and return it as written."""
    sealed = record.model_copy(update={"checksum": record.own_checksum()})
    write_text(folder / CELL_FILE, sealed.model_dump_json(indent=1) + "\n")
    return sealed


def read_record(folder: Path) -> CellRecord | None:
    """cell.json of a folder; None where there is none.

    Raises:
        UserError: it is not what this version writes, or not what it was sealed as.
    """
    file = folder / CELL_FILE
    if not file.is_file():
        return None
    try:
        record = CellRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} is not a cell record of schema {SCHEMA_VERSION}: {error}\n"
            f"Delete {folder} and run: dvc repro"
        ) from None
    if record.checksum not in (None, record.own_checksum()):
        raise UserError(
            f"{file} was changed after it was written: its checksum is another one.\n"
            f"Delete {folder} and run: dvc repro"
        )
    return record
