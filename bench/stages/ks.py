"""Stage ``ks``: how far outputs move from those of the model fine-tuned on all labels."""

import numpy as np

from bench.cells.files import METRICS_FILE, data_folder, write_json
from bench.cells.job import Job
from bench.cells.predictions import Predictions, read_predictions
from bench.cells.scores import MetricRow
from bench.protocol.label_columns import label_column
from bench.protocol.stage_specs import PREDICTIONS_FILE
from imssl.datasets.prepared import read_card
from imssl.errors import UserError
from imssl.ks import ks_distance
from imssl.settings.labels import LabelSet


def compute(job: Job) -> None:
    """Two-sample KS distance of each smaller label set's test probabilities to those of 100%."""
    card = read_card(data_folder(job.cell.dataset))
    classes = [card.classes[1]] if card.task == "binary" else list(card.classes)
    *smaller, everything = job.protocol.label_sets

    def predictions_of(label_set: LabelSet) -> Predictions:
        return read_predictions(job.built_on("finetune", label_set) / PREDICTIONS_FILE, card)

    reference = predictions_of(everything)
    rows: list[MetricRow] = []
    for done, label_set in enumerate(smaller, start=1):
        predictions, column = predictions_of(label_set), label_column(label_set)
        if not np.array_equal(predictions.ids, reference.ids):
            raise UserError(
                f"{job.cell.title}: the predictions with {label_set.words} and with all labels are not of "
                "the same samples. Run: dvc repro"
            )
        distance = ks_distance(predictions.probabilities, reference.probabilities, card.task)
        rows.append({**column, "metric": "ks", "value": distance.mean})
        for name, of_class in zip(classes, distance.per_class.tolist(), strict=True):
            rows.append({**column, "metric": "ks", "class": name, "value": of_class})
        job.on_progress(done, len(smaller))
    write_json(job.folder / METRICS_FILE, rows)
