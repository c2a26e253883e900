"""Stage ``knn``: nearest neighbours of the frozen encoder's last block, on every label set."""

from dataclasses import replace

from bench.cells.encoders import encoder_features
from bench.cells.files import METRICS_FILE, write_json
from bench.cells.job import Job
from bench.cells.predictions import write_predictions, write_subset
from bench.cells.scores import labels_used, number_rows, score_rows
from imssl.datasets.label_sets import draw_labels
from imssl.features import pooled_features
from imssl.knn import knn_probabilities
from imssl.settings.encoder import BLOCKS


def compute(job: Job) -> None:
    """Predict every image from the labelled training images nearest to it; nothing is fitted or chosen."""
    cell, prepared, settings = job.cell, job.prepared, job.protocol.knn
    drawn = draw_labels(prepared, job.labels, cell.seed)
    labelled = replace(drawn, validation=drawn.validation[:0])  # nothing is chosen
    rows, labels = labelled.training, prepared.labels()
    write_subset(job.folder, prepared, labelled)
    (embedding,) = encoder_features(job, pooled_features, blocks=[BLOCKS])
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
        + number_rows(labels_used(prepared, labelled)),
    )
