"""Stage ``frozen``: a linear classifier on the frozen encoder's last block, on every share of the labels."""

import numpy as np

from bench.cells.encoders import load_encoder
from bench.cells.files import METRICS_FILE, write_json
from bench.cells.job import Job
from bench.cells.predictions import write_predictions, write_subset
from bench.cells.scores import labels_used, number_rows, score_rows
from imssl.datasets.label_sets import draw_labels
from imssl.device import on_device
from imssl.features import pooled_features
from imssl.probe import probe
from imssl.settings.labels import LabelSet


def compute(job: Job) -> None:
    """Fit the classifier on the labels of one share; its strength is chosen on validation images."""
    cell, prepared = job.cell, job.prepared
    encoder = load_encoder(job.built_on("pretrain"), job.protocol, prepared)
    on_device(encoder, job.device)
    label_set = LabelSet(fraction=cell.fraction)
    labelled = draw_labels(prepared, label_set, cell.seed, job.protocol.validation_labels)
    write_subset(job.folder, prepared, labelled)
    embedding = pooled_features(encoder, prepared, np.arange(len(prepared.samples)), job.device)[-1]
    probed = probe(embedding, prepared, labelled, job.protocol.linear)
    write_predictions(job.folder, prepared, probed.validation_probabilities, probed.test_probabilities)
    labels = prepared.labels()[prepared.indices("test")]
    choices = {"l2": probed.l2, "converged": probed.converged, **labels_used(prepared, labelled)}
    write_json(
        job.folder / METRICS_FILE,
        score_rows(prepared.card, labels, probed.test_probabilities) + number_rows(choices),
    )
