"""Predictions as they are stored: a CSV of samples, labels and probabilities."""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from bench.cells.files import read_table
from imssl.datasets.prepared import Card
from imssl.errors import UserError

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
        labels=labels if card.task == "multilabel" else labels[:, 0],
        probabilities=probabilities,
    )
