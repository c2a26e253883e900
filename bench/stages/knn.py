"""Stage ``knn``: nearest neighbours of the frozen encoder's last block, on every share of the labels."""

import numpy as np

from bench.cells.encoders import load_encoder
from bench.cells.files import METRICS_FILE, write_json
from bench.cells.job import Job
from bench.cells.predictions import write_predictions, write_subset
from bench.cells.scores import number_rows, score_rows
from imssl.datasets.fractions import labelled_rows
from imssl.device import on_device
from imssl.features import pooled_features
from imssl.knn import knn_probabilities


def compute(job: Job) -> None:
    """Predict every image from the labelled training images nearest to it; nothing is fitted or chosen."""
    cell, prepared, settings = job.cell, job.prepared, job.protocol.knn
    encoder = load_encoder(job.built_on("pretrain"), job.protocol, prepared)
    on_device(encoder, job.device)
    rows, labels = labelled_rows(prepared, cell.fraction or 1.0, cell.seed), prepared.labels()
    write_subset(job.folder, prepared, rows)
    embedding = pooled_features(encoder, prepared, np.arange(len(prepared.samples)), job.device)[-1]
    validation, test = (
        knn_probabilities(
            embedding[rows],
            labels[rows],
            embedding[prepared.indices(split)],
            prepared.card.task,
            len(prepared.card.classes),
            settings.neighbours,
            settings.temperature,
        )
        for split in ("val", "test")
    )
    write_predictions(job.folder, prepared, validation, test)
    write_json(
        job.folder / METRICS_FILE,
        score_rows(prepared.card, labels[prepared.indices("test")], test)
        + number_rows({"labelled_images": len(rows)}),
    )
