"""What a published study consists of, and where its files lie.

reports/studies/<name>/
    study.json                        name, version of the suite, profile
    params.yaml                       without paths of the machine that it was computed on
    cards/<data set>.json             what the results were computed from
    samples/<data set>.parquet        validation and test images: id, patient, split, labels, attributes
    inputs.json.xz                    code and settings behind every stage and method
    chains/<data set>/<method>/seed-<n>/
        chain.json.xz                 record, provenance, metrics and curves of every cell
        test.parquet, val.parquet     a row for each model and image: see bench/studies/stored/rounding.py
    tuning/<method>.csv               trials of `bench tune`
    results.csv.xz, results.json.xz, leaderboard.html

All below the line of chains is made from what stands above it.
"""

import json
import lzma
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.cells.files import REPORTS
from bench.cells.records import CellRecord, Provenance
from bench.protocol.cell import Cell, all_cells
from bench.protocol.nearest_name import did_you_mean
from bench.protocol.protocol import Protocol
from imssl.durable import write_bytes
from imssl.errors import UserError
from imssl.regular_file import checksum

STUDIES = REPORTS / "studies"
STUDY_FILE, CHAIN_FILE, INPUTS_FILE = "study.json", "chain.json.xz", "inputs.json.xz"
RESULTS_TABLE, DOCUMENT, PAGE = "results.csv.xz", "results.json.xz", "leaderboard.html"
# Splits of which predictions are kept, each in a file of its own.
PREDICTED_SPLITS = ("val", "test")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
# What a study may take in git.
MOST_BYTES = 10_000_000

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, order=True)
class Chain:
    """What is computed and kept together: all stages of one method on one data set with one seed."""

    dataset: str
    method: str
    seed: int

    @property
    def title(self) -> str:
        """What a message calls it."""
        return f"{self.dataset} {self.method} seed {self.seed}"

    def cells(self, protocol: Protocol) -> list[Cell]:
        """Its cells, in the order of the pipeline."""
        return chains_of(protocol)[self]


def chains_of(protocol: Protocol) -> dict[Chain, list[Cell]]:
    """The chains of a protocol, each with its cells in the order of the pipeline."""
    chains: dict[Chain, list[Cell]] = {}
    for cell in all_cells(protocol):
        chains.setdefault(Chain(cell.dataset, cell.method, cell.seed), []).append(cell)
    return chains


def study_trials(study: Path, protocol: Protocol) -> dict[str, Path]:
    """Where the trials of the tuning of each method of a study are listed, whether it was tuned or not."""
    return {method: study / "tuning" / f"{method}.csv" for method in protocol.methods}


class StudyRecord(BaseModel):
    """study.json.

    Attributes:
        schema_version: of all files of the study.
        name: of its folder.
        suite: version of the suite that computed and packed it.
        profile: that params.yaml was written from.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    name: str
    suite: str
    profile: str


class StoredPredictions(BaseModel):
    """How one model's predictions are rounded.

    Attributes:
        step: of the log-odds; 0 where predictions are kept as they are.
        effect: largest change of any metric by the rounding, on the test or validation images.
    """

    model_config = ConfigDict(extra="forbid")

    step: float = Field(ge=0)
    effect: float = Field(ge=0)


class StoredCell(BaseModel):
    """One cell of a chain.

    Attributes:
        record: cell.json as it was sealed, with the SHA-256 of the files that are not kept here.
        provenance: when, where and at what cost it was computed.
        metrics: rows of its metrics.json; empty for a cell that failed for a documented reason.
        history: its training curves, as the text of history.csv; empty where it has none.
        left_out: linear CKA without each patient, to five decimals: by id of the label set a list for each
            block, and the patients; empty where it has none, or was packed before there were any.
    """

    model_config = ConfigDict(extra="forbid")

    record: dict[str, Any]
    provenance: Provenance
    metrics: list[dict[str, Any]]
    history: str
    left_out: dict[str, list[str] | list[list[float | None]]] = {}

    def cell_record(self) -> CellRecord:
        """The record with its provenance.

        Raises:
            UserError: it is not as it was sealed.
        """
        try:
            record = CellRecord.model_validate({**self.record, "provenance": self.provenance})
        except ValidationError as error:
            raise UserError(f"a stored cell is no cell record: {error}") from None
        if record.checksum != record.own_checksum():
            raise UserError(f"the record of {record.stage} {record.dataset} {record.method} was changed")
        return record


class StoredChain(BaseModel):
    """chain.json.xz.

    Attributes:
        schema_version: of the file.
        suite: version that computed it.
        cells: in the order of the pipeline.
        predictions: how they are rounded, by name (`bench.studies.stored.chains.prediction_name`).
        files: SHA-256 of the files of predictions, and of the data set's samples, by name.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    suite: str
    cells: list[StoredCell]
    predictions: dict[str, StoredPredictions]
    files: dict[str, str]


def study_names() -> list[str]:
    """Names of the studies that are here, sorted."""
    return sorted(file.parent.name for file in STUDIES.glob(f"*/{STUDY_FILE}"))


def study_folder(name: str, must_exist: bool = True) -> Path:
    """The folder of a study.

    Raises:
        UserError: the name is no name of a study, or there is no such study.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name of a study: use lower-case letters, digits and hyphens")
    folder = STUDIES / name
    if must_exist and not (folder / STUDY_FILE).is_file():
        known = study_names()
        there = f"there are: {', '.join(known)}" if known else "there is none"
        raise UserError(f"there is no study {name} in {STUDIES}; {there}.{did_you_mean(name, known)}")
    return folder


def chain_folder(study: Path, chain: Chain) -> Path:
    """Where a chain of a study lies."""
    return study / "chains" / chain.dataset / chain.method / f"seed-{chain.seed}"


def read_study(study: Path) -> StudyRecord:
    """study.json of a study.

    Raises:
        UserError: it is missing, or not of this version.
    """
    return _read(study / STUDY_FILE, StudyRecord)


def read_chain(study: Path, chain: Chain) -> StoredChain | None:
    """A chain of a study; None where the study does not hold it.

    Raises:
        UserError: it is damaged, or not of this version.
    """
    file = chain_folder(study, chain) / CHAIN_FILE
    return _read(file, StoredChain) if file.is_file() else None


def write_packed_json(file: Path, content: Any) -> None:
    """Write JSON, compressed; equal content is equal bytes."""
    write_packed(file, (json.dumps(content, sort_keys=True, allow_nan=False) + "\n").encode())


def write_packed(file: Path, content: bytes) -> None:
    """Write a file compressed by xz; equal content is equal bytes."""
    write_bytes(file, lzma.compress(content, preset=9))


def read_packed(file: Path) -> bytes:
    """Content of a file, decompressed where its name ends with .xz.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        content = file.read_bytes()
        return lzma.decompress(content) if file.suffix == ".xz" else content
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"{file} cannot be read ({error}). Restore it with: git checkout {file}") from None


def file_checksum(file: Path) -> str:
    """SHA-256 of a file.

    Raises:
        UserError: it is missing.
    """
    try:
        return checksum(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}). Restore it with git.") from None


def _read(file: Path, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(read_packed(file))
    except ValidationError as error:
        raise UserError(f"{file} is not what this version of the suite reads: {error}") from None
