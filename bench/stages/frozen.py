"""Stage ``frozen``: a linear classifier on the frozen encoder's last block, on every share of the labels."""

import numpy as np

from bench.cells.encoders import load_encoder
from bench.cells.files import METRICS_FILE, write_json
from bench.cells.job import Job
from bench.cells.predictions import write_predictions, write_subset
from bench.cells.scores import number_rows, score_rows
from imssl.datasets.fractions import labelled_rows
from imssl.device import on_device
from imssl.features import pooled_features
from imssl.probe import probe


def compute(job: Job) -> None:
    """Fit the classifier on the labels of one share; its strength is chosen on validation images."""
    cell, prepared = job.cell, job.prepared
    encoder = load_encoder(job.built_on("pretrain"), job.protocol, prepared)
    on_device(encoder, job.device)
    rows = labelled_rows(prepared, cell.fraction or 1.0, cell.seed)
    write_subset(job.folder, prepared, rows)
    embedding = pooled_features(encoder, prepared, np.arange(len(prepared.samples)), job.device)[-1]
    probed = probe(embedding, prepared, rows, job.protocol.linear)
    write_predictions(job.folder, prepared, probed.validation_probabilities, probed.test_probabilities)
    labels = prepared.labels()[prepared.indices("test")]
    choices = {"l2": probed.l2, "converged": probed.converged, "labelled_images": len(rows)}
    write_json(
        job.folder / METRICS_FILE,
        score_rows(prepared.card, labels, probed.test_probabilities) + number_rows(choices),
    )
