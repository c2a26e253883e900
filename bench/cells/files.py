"""The files of a run: where they lie, what is in them, and the only code that reads and writes them.

    data/<data set>/                              images.npy, samples.csv, card.json (imssl.datasets.prepared)
    results/<data set>/<stage>/<method>/<cell>/   cell.json and what the stage found
    results/<data set>/provenance/<stage>/...     provenance.json of each of these cells
    reports/                                      leaderboard.html, results.csv, metrics.json

A cell's folder is written once, under another name, and then renamed.
"""

import contextlib
import csv
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.protocol.cell import Cell
from imssl.datasets.prepared import CARD_FILE
from imssl.durable import write_bytes, write_text, write_unsynced, written_beside
from imssl.errors import UserError
from imssl.spreadsheet import EXACT_NUMBERS, original_table, safe_table

DATA = Path("data")
RESULTS = Path("results")
REPORTS = Path("reports")
INPUTS = RESULTS / "inputs"
# What outlives DVC's outputs: finished cells, checkpoints, what is known of unchanged source files.
STORE = Path(".bench")
# The part of it that several checkouts may share: what is kept under a key that says all it depends on.
# An unknown ~user stays as it is written, and is refused as a relative path is.
SHARED_STORE = Path(os.path.expanduser(os.environ.get("IMSSL_BENCH_STORE") or STORE))  # noqa: PTH111
# What is computed again where it is gone.
FEATURES = SHARED_STORE / "features"
DRAWS = STORE / "draws"

CELL_FILE = "cell.json"
# Where its numbers come from and what they cost: what differs from run to run.
PROVENANCE_FILE = "provenance.json"
METRICS_FILE = "metrics.json"
VALIDATION_FILE = "validation_predictions.csv"
HISTORY_FILE = "history.csv"
SUBSET_FILE = "subset.csv"
ENCODER_FILE = "encoder.safetensors"
# The statistics of its batch norm before they were filled; where they were not, there is no such file.
STATISTICS_FILE = "batch_norm_before_filling.safetensors"
# Which file an encoder started from, and how it was read; of one with random weights there is none.
STARTING_POINT_FILE = "starting_point.json"
FEATURES_FILE = "features.npz"
# Linear CKA without each patient in turn: by id of the label set (4, P), a row for each block; and patients.
LEFT_OUT_FILE, LEFT_OUT_PATIENTS = "left_out.npz", "patients"
LeftOut = dict[str, np.ndarray]
# In the folder of a cell that was brought back from a published study, which holds no encoders or features.
RESTORED_FILE = "restored.json"


def data_folder(dataset: str) -> Path:
    """Folder of a prepared data set."""
    return DATA / dataset


def is_prepared(dataset: str) -> bool:
    """Whether a data set's card, which is written last, is there."""
    return (data_folder(dataset) / CARD_FILE).is_file()


@cache  # a large run has some fifty cells in each
def stage_folder(stage: str, dataset: str, method: str = "") -> Path:
    """Results of a stage on a data set, of all methods or of one."""
    return RESULTS / dataset / stage / method


@cache
def provenance_folder(stage: str, dataset: str, method: str = "") -> Path:
    """Where the provenance of a stage's cells on a data set lies, of all methods or of one."""
    return RESULTS / dataset / "provenance" / stage / method


def cell_path(cell: Cell) -> Path:
    """Folder of a cell's results."""
    return stage_folder(cell.stage, cell.dataset, cell.method) / cell.folder


def write_json(file: Path, content: dict[str, Any] | list[Any]) -> None:
    """Write JSON with sorted keys, so that equal content is equal bytes."""
    write_text(file, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def show_json(file: Path, content: Any) -> None:
    """Write JSON that only shows how far something is.

    It is not synced to the disk, and what cannot be written stops nothing.
    """
    with contextlib.suppress(OSError):
        write_unsynced(file, json.dumps(content))


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
    """Write a CSV with enough digits to read the same numbers back, safe to open in a spreadsheet."""
    write_text(file, csv_text(safe_table(table)))


def csv_text(table: pd.DataFrame) -> str:
    """A table as `pandas.DataFrame.to_csv` writes it, which takes three times as long for a million rows."""
    columns = [_fields(column) for _, column in table.items()]
    if len(columns) < 2 or None in columns:
        return table.to_csv(index=False, lineterminator="\n")
    header = table.iloc[:0].to_csv(index=False, lineterminator="\n")
    return header + "".join(f"{line}\n" for line in map(",".join, zip(*columns, strict=True)))


def _fields(column: pd.Series) -> list[str] | None:
    """A column as fields of a CSV; None if it is of another type than most are."""
    if column.dtype == "float64":
        return ["" if math.isnan(value) else repr(value) for value in column.tolist()]
    if column.dtype in ("int64", "Int64"):
        return ["" if value is pd.NA else str(value) for value in column.tolist()]
    if not isinstance(column.dtype, pd.StringDtype):
        return None
    # Most columns repeat few texts. What is missing has the place -1.
    places, texts = pd.factorize(column)
    return np.array([*map(_quoted, texts), ""], dtype=object)[places].tolist()


def _quoted(text: str) -> str:
    """A text as a field of a CSV: in quotation marks where it has to be."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([text, ""])
    return line.getvalue().removesuffix(",\n")


def read_table(file: Path, text_columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a CSV of a cell; ids stay text.

    Raises:
        UserError: it is missing or malformed.
    """
    try:
        # Only an empty cell is a missing value: a patient may be called "NA" or "null".
        return original_table(
            pd.read_csv(
                file,
                **EXACT_NUMBERS,
                dtype=dict.fromkeys(text_columns, str),
                keep_default_na=False,
                na_values=[""],
            )
        )
    except (FileNotFoundError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}). Restore it with: dvc repro") from None


def read_history(file: Path, content: bytes) -> pd.DataFrame:
    """Read a history as `read_table` does, but faster where it is nothing but plain names and numbers.

    Args:
        file: its path.
        content: its bytes.

    Raises:
        UserError: it is malformed.
    """
    try:
        header, *lines = content.decode().removesuffix("\n").split("\n")
        if '"' in header or "'" in header:
            raise ValueError("a name that is written in another way than it reads")
        columns = zip(*(map(_number, line.split(",")) for line in lines), strict=True)
        return pd.DataFrame(dict(zip(header.split(","), columns, strict=True)))
    except ValueError:
        return read_table(file)


def _number(text: str) -> int | float:
    return int(text) if text.removeprefix("-").isdecimal() else float(text or "nan")


def write_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as an uncompressed .npz, the same bytes under every version of Python and NumPy.

    `numpy.savez` leaves versions and extra fields of the archive to Python, whose patch releases differ.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o600 << 16  # as on Unix, wherever it is written
            array = io.BytesIO()
            np.lib.format.write_array(array, np.ascontiguousarray(arrays[name]), (1, 0), allow_pickle=False)
            archive.writestr(entry, array.getvalue())
    write_bytes(file, content.getvalue())


def keep_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays that are only dear to compute again, uncompressed; not synced to the disk.

    A store that cannot be written, or is full, costs the next reader time and nothing else.
    """
    with contextlib.suppress(OSError), written_beside(file) as partial:
        with partial.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        partial.replace(file)


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


def left_out_arrays(file: Path, content: bytes) -> LeftOut:
    """Linear CKA without each patient in turn, by id of the label set (4, P); beside it the patients, (P,).

    Args:
        file: for messages.
        content: its bytes.

    Raises:
        UserError: it does not hold that.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        patients = arrays[LEFT_OUT_PATIENTS].size
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read ({error}). Restore it with: dvc repro") from None
    values = [array for name, array in arrays.items() if name != LEFT_OUT_PATIENTS]
    if any(array.ndim != 2 or array.shape[1] != patients or array.dtype.kind != "f" for array in values):
        raise UserError(f"{file} holds no CKA without each patient. Restore it with: dvc repro")
    return arrays
