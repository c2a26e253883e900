"""The files of a run: where they lie, what is in them, and the only code that reads and writes them.

    data/<data set>/                              images.npy, samples.csv, card.json (imssl.datasets.prepared)
    results/<data set>/<stage>/<method>/<cell>/   cell.json and what the stage found
    reports/                                      leaderboard.html, results.csv, metrics.json

A cell's folder is written once, under another name, and then renamed.
"""

import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.protocol.cell import Cell
from imssl.durable import write_text
from imssl.errors import UserError

DATA = Path("data")
RESULTS = Path("results")
REPORTS = Path("reports")
INPUTS = RESULTS / "inputs"
# What outlives DVC's outputs: finished cells, checkpoints, what is known of unchanged source files.
STORE = Path(".bench")

CELL_FILE = "cell.json"
METRICS_FILE = "metrics.json"
VALIDATION_FILE = "validation_predictions.csv"
HISTORY_FILE = "history.csv"
SUBSET_FILE = "subset.csv"
ENCODER_FILE = "encoder.safetensors"
# The statistics of its batch norm before they were filled; where they were not, there is no such file.
STATISTICS_FILE = "batch_norm_before_filling.safetensors"
FEATURES_FILE = "features.npz"


def data_folder(dataset: str) -> Path:
    """Folder of a prepared data set."""
    return DATA / dataset


@cache  # a large run has some fifty cells in each
def stage_folder(stage: str, dataset: str, method: str = "") -> Path:
    """Results of a stage on a data set, of all methods or of one."""
    return RESULTS / dataset / stage / method


def cell_path(cell: Cell) -> Path:
    """Folder of a cell's results."""
    return stage_folder(cell.stage, cell.dataset, cell.method) / cell.folder


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


def read_features(file: Path, blocks: int) -> dict[str, np.ndarray]:
    """Stored features: ``before_<block>`` and ``after_<block>``, (n, D) each, of the same images.

    Beside them ``patients``, (n,) text.

    Raises:
        UserError: the file is missing, or does not hold them.
    """
    names = [f"{when}_{block}" for when in ("before", "after") for block in range(1, blocks + 1)]
    try:
        with np.load(file, allow_pickle=False) as stored:
            features = {name: stored[name] for name in names}
            patients = stored["patients"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read ({error}). Restore it with: dvc repro") from None
    if any(array.ndim != 2 or array.dtype.kind != "f" for array in features.values()):
        raise UserError(f"{file} holds something else than features. Restore it with: dvc repro")
    return features | {"patients": patients}
