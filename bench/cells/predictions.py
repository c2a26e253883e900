"""Predictions as they are stored: a CSV of samples, labels and probabilities."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from bench.cells.files import SUBSET_FILE, VALIDATION_FILE, read_table, write_table
from bench.protocol.stage_specs import PREDICTIONS_FILE, STAGES
from imssl.datasets.prepared import Card, Prepared
from imssl.errors import UserError

if TYPE_CHECKING:
    from imssl.datasets.label_sets import LabelledRows

PROBABILITY = "probability_"


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


def labels_in(samples: pd.DataFrame, card: Card) -> np.ndarray:
    """Labels of samples from their columns: (N, C) for multilabel, (N,) class indices otherwise."""
    labels = samples[card.label_columns].to_numpy()
    return labels if card.task == "multilabel" else labels[:, 0]


def write_predictions(folder: Path, prepared: Prepared, validation: np.ndarray, test: np.ndarray) -> None:
    """Write a model's predictions on all validation and all test images.

    Args:
        folder: of the cell.
        prepared: data set.
        validation: (N_val, C) probabilities, in the data set's order.
        test: (N_test, C), likewise.
    """
    for file, split, probabilities in (
        (VALIDATION_FILE, "val", validation),
        (PREDICTIONS_FILE, "test", test),
    ):
        samples = prepared.samples.iloc[prepared.indices(split)]
        write_table(folder / file, predictions_table(samples, prepared.card, probabilities))


def block_predictions_file(block: int) -> str:
    """Name of the test predictions of one block's probe."""
    return (STAGES["probe"].predictions or {})[block]


def write_subset(folder: Path, prepared: Prepared, labelled: "LabelledRows") -> None:
    """Write which training and validation images gave their labels, by id and split."""
    rows = np.concatenate([labelled.training, labelled.validation])
    write_table(folder / SUBSET_FILE, prepared.samples.iloc[rows][["id", "split"]])


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
    labels = labels_in(table, card)
    try:
        probabilities = table[columns].to_numpy(dtype=float)
    except ValueError:
        probabilities = np.array(np.nan)
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise UserError(
            f"{file} holds probabilities that are not numbers from 0 to 1. Restore it with: dvc repro"
        )
    if labels.dtype.kind not in "iu" or table["id"].isna().any() or table["id"].duplicated().any():
        raise UserError(
            f"{file} holds labels that are not whole numbers, or samples without an id or twice. "
            "Restore it with: dvc repro"
        )
    return Predictions(
        ids=table["id"].to_numpy(dtype=str),
        patients=table["patient"].fillna(table["id"]).to_numpy(dtype=str),
        labels=labels,
        probabilities=probabilities,
    )
