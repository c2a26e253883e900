"""cell.json: what a cell is, how it ended, and where its numbers come from."""

import hashlib
import json
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bench.cells.files import CELL_FILE
from imssl.durable import write_text
from imssl.errors import UserError

SCHEMA_VERSION = 2

# The libraries whose version can move a number.
PACKAGES = ("imssl-bench", "numpy", "pandas", "pillow", "scikit-learn", "scipy", "torch", "torchvision")


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
        fraction: share of the labels; None in stages without one cell per share.
        status: ``done``, or ``failed`` for a documented failure such as a diverged loss.
        reason: why it failed.
        files: SHA-256 by name.
        provenance: where the numbers come from.
        checksum: SHA-256 of the record without this field; None in a record that was never sealed.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[2] = 2
    key: str
    stage: str
    dataset: str
    method: str
    seed: int
    fraction: float | None
    status: Literal["done", "failed"]
    reason: str | None
    files: dict[str, str]
    provenance: Provenance
    checksum: str | None = None

    def own_checksum(self) -> str:
        """SHA-256 of what the record says."""
        content = self.model_dump(mode="json", exclude={"checksum"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Outdated(UserError):
    """A record of an earlier version of the suite: no fault, but no result of this version either."""


def write_record(folder: Path, record: CellRecord) -> CellRecord:
    """Seal a record with its checksum, write it as cell.json and return it as written."""
    sealed = record.model_copy(update={"checksum": record.own_checksum()})
    write_text(folder / CELL_FILE, sealed.model_dump_json(indent=1) + "\n")
    return sealed


def read_record(folder: Path) -> CellRecord | None:
    """cell.json of a folder; None where there is none.

    Raises:
        Outdated: it is what an earlier version wrote.
        UserError: it is not what this version writes, or not what it was sealed as.
    """
    file = folder / CELL_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("schema_version") in range(1, SCHEMA_VERSION):
            raise Outdated(f"{file} was written by an earlier version of the suite. Run: dvc repro")
        record = CellRecord.model_validate(content)
    except ValueError as error:  # not JSON, not UTF-8, or other fields
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


def provenance(started: datetime, seconds: float, device: str, command: str) -> Provenance:
    """Provenance of a cell that has just been computed."""
    commit = _git("rev-parse", "HEAD")
    # The code is what a commit must vouch for; parameters and data are in the cell's key.
    changes = _git("status", "--porcelain", "--", "imssl", "bench")
    return Provenance(
        started=started.astimezone(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        commit=commit or None,
        clean=None if commit is None else changes == "",
        device=device,
        python=platform.python_version(),
        packages=package_versions(),
        command=command,
    )


@cache
def package_versions() -> dict[str, str]:
    """Versions of the libraries that can move a number, by name."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
