"""Stage ``finetune``: all weights of the encoder, on every share of the labels."""

import pandas as pd

from bench.cells.encoders import load_encoder
from bench.cells.files import FEATURES_FILE, HISTORY_FILE, METRICS_FILE, write_arrays, write_json, write_table
from bench.cells.job import Job
from bench.cells.predictions import write_predictions, write_subset
from bench.cells.scores import labels_used, number_rows, score_rows
from imssl.checkpoint import CheckpointFile
from imssl.datasets.draw import compared_rows
from imssl.datasets.label_sets import draw_labels
from imssl.device import on_device
from imssl.encoder import Encoder
from imssl.features import pooled_features
from imssl.finetune import FinetuneRecipe, finetune


def compute(job: Job) -> None:
    """Fine-tune one encoder on one share of the labels, and predict the test images."""
    cell, protocol, prepared = job.cell, job.protocol, job.prepared
    encoder = load_encoder(job.built_on("pretrain"), protocol, prepared)
    on_device(encoder, job.device)
    labelled = draw_labels(prepared, job.labels, cell.seed, protocol.validation_labels)
    write_subset(job.folder, prepared, labelled)
    recipe = FinetuneRecipe(
        prepared=prepared,
        labelled=labelled,
        settings=protocol.finetune,
        augmentation=protocol.finetune_augmentation_of(cell.dataset),
        hardware=protocol.hardware,
        device=job.device,
        seed=cell.seed,
    )
    tuned = finetune(encoder, recipe, job.on_progress, CheckpointFile(job.checkpoint, job.key))
    write_table(job.folder / HISTORY_FILE, pd.DataFrame(tuned.history))
    write_predictions(job.folder, prepared, tuned.validation_probabilities, tuned.test_probabilities)
    labels = prepared.labels()[prepared.indices("test")]
    job.costs["seconds"] = tuned.seconds
    choices = {"best_step": tuned.best_step, **labels_used(prepared, labelled)}
    write_json(
        job.folder / METRICS_FILE,
        score_rows(prepared.card, labels, tuned.test_probabilities) + number_rows(choices),
    )
    _write_features(job, encoder, tuned.encoder)


def _write_features(job: Job, before: Encoder, after: Encoder) -> None:
    """Pooled features of the same test images before and after fine-tuning, for CKA."""
    prepared = job.prepared
    compared = compared_rows(prepared, job.protocol.reuse.samples)
    arrays = {
        f"{when}_{block}": features
        for when, encoder in (("before", before), ("after", after))
        for block, features in enumerate(pooled_features(encoder, prepared, compared, job.device), start=1)
    }
    arrays["ids"] = prepared.samples["id"].to_numpy(dtype=str)[compared]
    arrays["patients"] = prepared.patients()[compared]
    write_arrays(job.folder / FEATURES_FILE, arrays)
