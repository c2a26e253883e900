"""Stage ``probe``: a linear classifier on the pooled features of each block of the frozen encoder."""

from typing import Any

from bench.cells.encoders import encoder_features
from bench.cells.files import METRICS_FILE, write_json, write_table
from bench.cells.job import Job
from bench.cells.predictions import block_predictions_file, predictions_table
from bench.cells.scores import number_rows, score_rows
from imssl.datasets.label_sets import LabelledRows
from imssl.features import pooled_features
from imssl.probe import probe
from imssl.settings.encoder import BLOCKS


def compute(job: Job) -> None:
    """Probe every block of one encoder."""
    prepared = job.prepared
    test = prepared.indices("test")
    labelled = LabelledRows(prepared.indices("train"), prepared.indices("val"))
    features = encoder_features(job, pooled_features, blocks=range(1, BLOCKS + 1))
    metrics: list[dict[str, Any]] = []
    for block, block_features in enumerate(features, start=1):
        probed = probe(block_features, prepared, labelled, job.protocol.probe)
        table = predictions_table(prepared.samples.iloc[test], prepared.card, probed.test_probabilities)
        write_table(job.folder / block_predictions_file(block), table)
        choices = {
            "validation_metric": probed.validation_metric,
            "l2": probed.l2,
            "converged": probed.converged,
        }
        rows = score_rows(prepared.card, prepared.labels()[test], probed.test_probabilities)
        metrics += [{**row, "block": block} for row in rows + number_rows(choices)]
        job.on_progress(block, BLOCKS)
    write_json(job.folder / METRICS_FILE, metrics)
