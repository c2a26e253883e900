"""The files of a run: where they lie, what is in them, and the only code that reads and writes them.

    data/<data set>/                              images.npy, samples.csv, card.json (imssl.datasets.prepared)
    results/<data set>/<method>/<stage>/<cell>/   cell.json and what the stage found
    reports/                                      leaderboard.html, results.csv, metrics.json

A cell's folder is written once, under another name, and then renamed.
"""

import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from imssl.datasets.prepared import Card
from imssl.errors import UserError

SCHEMA_VERSION = 1

DATA = Path("data")
RESULTS = Path("results")
REPORTS = Path("reports")
INPUTS = RESULTS / "inputs"
# What outlives DVC's outputs: finished cells, checkpoints, what is known of unchanged source files.
STORE = Path(".bench")

CELL_FILE = "cell.json"
METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.csv"
VALIDATION_FILE = "validation_predictions.csv"
HISTORY_FILE = "history.csv"
SUBSET_FILE = "subset.csv"
ENCODER_FILE = "encoder.safetensors"
FEATURES_FILE = "features.npz"

PROBABILITY = "probability_"


def data_folder(dataset: str) -> Path:
    """Folder of a prepared data set."""
    return DATA / dataset


def stage_folder(stage: str, dataset: str, method: str) -> Path:
    """Output folder of one DVC stage."""
    return RESULTS / dataset / method / stage


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


def read_record(folder: Path) -> CellRecord | None:
    """cell.json of a folder; None where there is none.

    Raises:
        UserError: it is not what this version writes.
    """
    file = folder / CELL_FILE
    if not file.is_file():
        return None
    try:
        return CellRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} is not a cell record of schema {SCHEMA_VERSION}: {error}\n"
            f"Delete {folder} and run: dvc repro"
        ) from None


def write_json(file: Path, content: dict[str, Any] | list[Any]) -> None:
    """Write JSON with sorted keys, so that equal content is equal bytes."""
    write_text(file, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(file: Path) -> Any:
    """Read a JSON file of a cell.

    Raises:
        UserError: it is missing or not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}). Restore it with: dvc repro") from None


def write_text(file: Path, text: str) -> None:
    """Write a text file under another name first, so that it is never half there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def write_table(file: Path, table: pd.DataFrame) -> None:
    """Write a CSV with enough digits to read the same numbers back."""
    write_text(file, table.to_csv(index=False, lineterminator="\n"))


def read_table(file: Path, text_columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a CSV of a cell; ids stay text.

    Raises:
        UserError: it is missing or malformed.
    """
    try:
        # Only an empty cell is a missing value: a patient may be called "NA" or "null".
        return pd.read_csv(
            file,
            dtype=dict.fromkeys(text_columns, str),
            keep_default_na=False,
            na_values=[""],
        )
    except (FileNotFoundError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}). Restore it with: dvc repro") from None


def predictions_table(samples: pd.DataFrame, card: Card, probabilities: np.ndarray) -> pd.DataFrame:
    """Predictions as stored: id, patient, label columns, and ``probability_<class>`` for each class.

    Args:
        samples: rows of samples.csv, (N).
        card: of the data set.
        probabilities: (N, C), in the same order.
    """
    table = samples[["id", "patient", *card.label_columns]].reset_index(drop=True)
    columns = pd.DataFrame(probabilities, columns=[PROBABILITY + name for name in card.classes])
    return pd.concat([table, columns], axis=1)


class Predictions(BaseModel):
    """Stored predictions as arrays.

    Attributes:
        ids: (N,) sample ids.
        patients: (N,) patient ids; the sample's own id where there is none.
        labels: (N, C) or (N,).
        probabilities: (N, C).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    ids: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


def read_predictions(file: Path, card: Card) -> Predictions:
    """Read a predictions file.

    Raises:
        UserError: it is missing, malformed, or not of this data set.
    """
    table = read_table(file, text_columns=("id", "patient"))
    columns = [PROBABILITY + name for name in card.classes]
    missing = [name for name in ("id", "patient", *card.label_columns, *columns) if name not in table.columns]
    if missing:
        raise UserError(f"{file} lacks the columns {', '.join(missing)}. Restore it with: dvc repro")
    labels = table[card.label_columns].to_numpy()
    probabilities = table[columns].to_numpy(dtype=float)
    if not np.isfinite(probabilities).all():
        raise UserError(f"{file} holds probabilities that are not numbers. Restore it with: dvc repro")
    return Predictions(
        ids=table["id"].to_numpy(dtype=str),
        patients=table["patient"].fillna(table["id"]).to_numpy(dtype=str),
        labels=labels if card.task == "multilabel" else labels[:, 0],
        probabilities=probabilities,
    )
