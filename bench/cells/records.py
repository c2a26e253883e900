"""What is written down of a cell: what it is and how it ended, and where its numbers come from.

The two lie in two files. cell.json is decided by the cell's key, so that a cell computed twice is the same to
the byte and nothing that is built on it runs again. provenance.json says when, where and at what cost it was
computed, which differs from run to run; no later cell depends on it.
"""

import hashlib
import json
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from bench.cells.files import CELL_FILE, PROVENANCE_FILE, write_json
from bench.protocol.cell import Cell, cell_in
from bench.protocol.stage_specs import CELL_STAGES
from imssl.durable import write_text
from imssl.errors import UserError

SCHEMA_VERSION = 3

# The libraries whose version can move a number.
PACKAGES = (
    "imssl-bench",
    "numpy",
    "pandas",
    "pillow",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)
# Those that compute numbers of a cell; a table of several versions of one is said to be mixed.
COMPUTING = ("numpy", "scikit-learn", "scipy", "timm", "torch", "torchvision")


class Provenance(BaseModel):
    """provenance.json: where a cell's numbers come from, and what they cost.

    Attributes:
        started: UTC, ISO 8601.
        seconds: of the computation.
        cpu_seconds: that processors worked for it, of all its threads and processes; None in records of
            earlier versions.
        commit: git revision, None outside a repository.
        clean: whether the working tree was; None outside a repository.
        device: kind of device and its name.
        python: version.
        packages: versions of the libraries that can move a number.
        command: that computes this cell again.
        weights: SHA-256 of the file that the encoder started from; None where it started from random ones.
        costs: what a stage measured of its own work, such as ``peak_memory_mib``, by name.
    """

    model_config = ConfigDict(extra="forbid")

    started: str
    seconds: float
    cpu_seconds: float | None = None
    commit: str | None
    clean: bool | None
    device: str
    python: str
    packages: dict[str, str]
    command: str
    weights: str | None = None
    costs: dict[str, float] = {}

    @property
    def hardware(self) -> str:
        """The device without its number of threads, which is the process's own and not the machine's."""
        return re.sub(r", \d+ threads?$", "", self.device)


# In the place of what is read from a second file right afterwards.
NOT_READ_YET = Provenance(
    started="", seconds=0.0, commit=None, clean=None, device="", python="", packages={}, command=""
)


class CellRecord(BaseModel):
    """cell.json: what a cell is, how it ended, and the checksums of its files.

    Attributes:
        schema_version: of all files of the cell.
        key: hash of everything that decides its numbers.
        stage: of the pipeline.
        dataset: id.
        method: id.
        seed: of the run.
        fraction: share of the labels; None in stages without one cell per label set, and for k-shot.
        labels_per_class: k of k-shot; None otherwise.
        status: ``done``, or ``failed`` for a documented failure such as a diverged loss.
        reason: why it failed.
        files: SHA-256 by name.
        provenance: where the numbers come from; it has a file of its own.
        checksum: SHA-256 of the record without this field; None in a record that was never sealed.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[3] = 3
    key: str
    stage: str
    dataset: str
    method: str
    seed: int
    fraction: float | None
    labels_per_class: int | None = None
    status: Literal["done", "failed"]
    reason: str | None
    files: dict[str, str]
    provenance: Provenance = Field(exclude=True)
    checksum: str | None = None

    @model_serializer(mode="wrap")
    def _without_unused(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A record of a share of the labels says nothing of k-shot.
        unused = () if self.labels_per_class is not None else ("labels_per_class",)
        return {name: value for name, value in plain(self).items() if name not in unused}

    def own_checksum(self) -> str:
        """SHA-256 of what the record says."""
        return _checksum(self.model_dump(mode="json", exclude={"checksum"}))


class Outdated(UserError):
    """A record of an earlier version of the suite: no fault, but no result of this version either."""


def mixed_versions(records: Iterable[CellRecord]) -> dict[str, dict[str, int]]:
    """Libraries of which the cells' versions differ: how many cells each version has made.

    Versions are not in a cell's key, so that a new release of a library makes nothing stale; a table of
    cells of two releases has to say so.
    """
    made_with = [record.provenance.packages for record in records]
    counts = {name: Counter(packages.get(name, "unknown") for packages in made_with) for name in COMPUTING}
    return {name: dict(sorted(count.items())) for name, count in counts.items() if len(count) > 1}


def write_record(folder: Path, record: CellRecord) -> CellRecord:
    """Seal a record with its checksum, write it as cell.json and return it as written.

    Its provenance is written too, to where :func:`provenance_file` says.
    """
    sealed = record.model_copy(update={"checksum": record.own_checksum()})
    origin = {"key": record.key, **record.provenance.model_dump(mode="json")}
    write_json(provenance_file(folder), origin | {"checksum": _checksum(origin)})
    write_text(folder / CELL_FILE, sealed.model_dump_json(indent=1) + "\n")
    return sealed


def read_record(folder: Path) -> CellRecord | None:
    """cell.json of a folder, with its provenance; None where there is none.

    Raises:
        Outdated: it is what an earlier version wrote.
        UserError: it is not what this version writes, or not what it was sealed as.
    """
    file = folder / CELL_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_bytes().decode())
        if isinstance(content, dict) and content.get("schema_version") in range(1, SCHEMA_VERSION):
            raise Outdated(f"{file} was written by an earlier version of the suite. Run: dvc repro")
        record = CellRecord.model_validate({**content, "provenance": NOT_READ_YET})
    except (ValueError, TypeError) as error:  # not JSON, not UTF-8, or other fields
        raise UserError(
            f"{file} is not a cell record of schema {SCHEMA_VERSION}: {error}\n"
            f"Delete {folder} and run: dvc repro"
        ) from None
    # Of what the file says, and not of the record made from it again: a run has tens of thousands of them.
    said = {name: value for name, value in content.items() if name != "checksum"}
    if record.checksum not in (None, _checksum(said)):
        raise UserError(
            f"{file} was changed after it was written: its checksum is another one.\n"
            f"Delete {folder} and run: dvc repro"
        )
    origin = _read_provenance(provenance_file(folder), record.key)
    return record.model_copy(update={"provenance": origin})


def cell_of(record: CellRecord) -> Cell:
    """The cell that a record says it is of."""
    return cell_in(vars(record))


def provenance_file(folder: Path) -> Path:
    """Where the provenance of a cell lies: in its folder, but in an output of its own among the results.

    What is built on a cell depends, for DVC, on the whole output of its stage.
    """
    parts = folder.parts
    stage = -3 if parts[-1].startswith("seed-") else -4
    if len(parts) < -stage or parts[stage] not in CELL_STAGES:
        return folder / PROVENANCE_FILE
    return Path(*parts[:stage], "provenance", *parts[stage:], PROVENANCE_FILE)


def _read_provenance(file: Path, key: str) -> Provenance:
    try:
        content = json.loads(file.read_bytes().decode())
        sealed_as, of_key = content.pop("checksum"), content["key"]
        is_as_sealed = sealed_as == _checksum(content)
        origin = Provenance.model_validate({k: v for k, v in content.items() if k != "key"})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{file} does not say where its cell's numbers come from ({error}). Restore it with: dvc repro"
        ) from None
    if of_key != key or not is_as_sealed:
        raise UserError(
            f"{file} was changed after it was written, or belongs to another cell. Restore it with: dvc repro"
        )
    return origin


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def provenance(
    started: datetime,
    seconds: float,
    device: str,
    command: str,
    weights: str | None = None,
    costs: Mapping[str, float] | None = None,
    cpu_seconds: float | None = None,
) -> Provenance:
    """Provenance of a cell that has just been computed."""
    commit = _git("rev-parse", "HEAD")
    # The code is what a commit must vouch for; parameters and data are in the cell's key.
    changes = _git("status", "--porcelain", "--", "imssl", "bench", "methods")
    return Provenance(
        started=started.astimezone(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        cpu_seconds=None if cpu_seconds is None else round(cpu_seconds, 3),
        commit=commit or None,
        clean=None if commit is None else changes == "",
        device=device,
        python=platform.python_version(),
        packages=package_versions(),
        command=command,
        weights=weights,
        costs=dict(costs or {}),
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
