"""Stage ``ks``: how far outputs move from those of the model fine-tuned on all labels."""

from pathlib import Path

import numpy as np

from bench.cells.cell import Cell
from bench.cells.files import METRICS_FILE, PREDICTIONS_FILE, data_folder, write_json
from bench.cells.keys import Keys
from bench.cells.predictions import read_predictions
from bench.forecast.progress import OnProgress
from bench.protocol.protocol import Protocol
from bench.stages.run_cells import run_cells, upstream_folder
from imssl.datasets.prepared import read_card
from imssl.errors import UserError
from imssl.ks import ks_distance


def run(dataset: str, method: str, protocol: Protocol) -> None:
    """Two-sample KS distance of each smaller fraction's test probabilities to those of 100%."""
    card = read_card(data_folder(dataset))
    keys = Keys(protocol)
    names = [card.classes[1]] if card.task == "binary" else list(card.classes)

    def compute(cell: Cell, key: str, folder: Path, on_progress: OnProgress) -> str:
        *smaller, everything = protocol.label_fractions
        reference = read_predictions(
            upstream_folder("finetune", cell, keys, everything) / PREDICTIONS_FILE, card
        )
        rows = []
        for fraction in smaller:
            predictions = read_predictions(
                upstream_folder("finetune", cell, keys, fraction) / PREDICTIONS_FILE, card
            )
            if not np.array_equal(predictions.ids, reference.ids):
                raise UserError(
                    f"{cell.title}: the predictions of fractions {fraction:g} and {everything:g} are not of "
                    "the same samples. Run: dvc repro"
                )
            distance = ks_distance(predictions.probabilities, reference.probabilities, card.task)
            per_class = dict(zip(names, distance.per_class.tolist(), strict=True))
            rows.append({"fraction": fraction, "mean": distance.mean, "per_class": per_class})
            on_progress(len(rows), len(smaller))
        write_json(folder / METRICS_FILE, rows)
        return "CPU"

    run_cells("ks", dataset, method, protocol, compute)
