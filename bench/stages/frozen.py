"""Stage ``frozen``: a linear classifier on the frozen encoder's last block, on every label set."""

from bench.cells.encoders import encoder_features
from bench.cells.files import METRICS_FILE, write_json
from bench.cells.job import Job
from bench.cells.predictions import write_predictions, write_subset
from bench.cells.scores import labels_used, number_rows, score_rows
from imssl.datasets.label_sets import draw_labels
from imssl.features import pooled_features
from imssl.probe import probe
from imssl.settings.encoder import BLOCKS


def compute(job: Job) -> None:
    """Fit the classifier on the labels of one set; its strength is chosen on validation images."""
    cell, prepared = job.cell, job.prepared
    labelled = draw_labels(prepared, job.labels, cell.seed, job.protocol.validation_labels)
    write_subset(job.folder, prepared, labelled)
    (embedding,) = encoder_features(job, pooled_features, blocks=[BLOCKS])
    probed = probe(embedding, prepared, labelled, job.protocol.linear)
    write_predictions(job.folder, prepared, probed.validation_probabilities, probed.test_probabilities)
    labels = prepared.labels()[prepared.indices("test")]
    choices = {"l2": probed.l2, "converged": probed.converged, **labels_used(prepared, labelled)}
    write_json(
        job.folder / METRICS_FILE,
        score_rows(prepared.card, labels, probed.test_probabilities) + number_rows(choices),
    )
