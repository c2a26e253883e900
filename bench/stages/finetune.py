"""Stage ``finetune``: all weights of the encoder, on every share of the labels."""

import numpy as np
import pandas as pd

from bench.cells.encoders import load_encoder
from bench.cells.files import FEATURES_FILE, HISTORY_FILE, METRICS_FILE, write_json, write_table
from bench.cells.job import Job
from bench.cells.predictions import write_predictions, write_subset
from bench.cells.scores import number_rows, score_rows
from imssl.checkpoint import CheckpointFile
from imssl.datasets.fractions import labelled_rows
from imssl.device import on_device
from imssl.encoder import Encoder
from imssl.features import pooled_features
from imssl.finetune import finetune


def compute(job: Job) -> None:
    """Fine-tune one encoder on one share of the labels, and predict the test images."""
    cell, protocol, prepared = job.cell, job.protocol, job.prepared
    encoder = load_encoder(job.built_on("pretrain"), protocol, prepared)
    on_device(encoder, job.device)
    rows = labelled_rows(prepared, cell.fraction or 1.0, cell.seed)
    write_subset(job.folder, prepared, rows)
    tuned = finetune(
        encoder,
        prepared,
        rows,
        protocol.finetune,
        protocol.finetune_augmentation_of(cell.dataset),
        protocol.hardware,
        job.device,
        cell.seed,
        job.on_progress,
        CheckpointFile(job.checkpoint, job.key),
    )
    write_table(job.folder / HISTORY_FILE, pd.DataFrame(tuned.history))
    write_predictions(job.folder, prepared, tuned.validation_probabilities, tuned.test_probabilities)
    labels = prepared.labels()[prepared.indices("test")]
    choices = {"best_step": tuned.best_step, "labelled_images": len(rows), "seconds": tuned.seconds}
    write_json(
        job.folder / METRICS_FILE,
        score_rows(prepared.card, labels, tuned.test_probabilities) + number_rows(choices),
    )
    _write_features(job, encoder, tuned.encoder)


def _write_features(job: Job, before: Encoder, after: Encoder) -> None:
    """Pooled features of the same test images before and after fine-tuning, for CKA."""
    prepared = job.prepared
    compared = prepared.indices("test")[: job.protocol.reuse.samples]
    arrays = {
        f"{when}_{block}": features
        for when, encoder in (("before", before), ("after", after))
        for block, features in enumerate(pooled_features(encoder, prepared, compared, job.device), start=1)
    }
    arrays["ids"] = prepared.samples["id"].to_numpy(dtype=str)[compared]
    np.savez(job.folder / FEATURES_FILE, allow_pickle=False, **arrays)
