"""Stage ``finetune``: every label fraction, all weights, and a linear classifier on the frozen encoder."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.cells.cell import Cell
from bench.cells.encoders import load_encoder
from bench.cells.files import (
    FEATURES_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    SUBSET_FILE,
    VALIDATION_FILE,
    data_folder,
    write_json,
    write_table,
)
from bench.cells.keys import Keys
from bench.cells.predictions import predictions_table
from bench.cells.scores import scores_of
from bench.cells.store import checkpoint_file
from bench.forecast.progress import OnProgress
from bench.protocol.protocol import Protocol
from bench.stages.run_cells import run_cells, upstream_folder
from imssl.checkpoint import CheckpointFile
from imssl.datasets.fractions import label_subset
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.device import hardware_name, on_device, select_device
from imssl.encoder import Encoder
from imssl.features import pooled_features
from imssl.finetune import finetune
from imssl.probe import probe
from imssl.seeds import derived_seed


def run(dataset: str, method: str, protocol: Protocol) -> None:
    """Fine-tune the encoders of every seed on every fraction."""
    device = select_device(protocol.hardware)
    prepared = read_prepared(data_folder(dataset))
    keys = Keys(protocol)

    def compute(cell: Cell, key: str, folder: Path, on_progress: OnProgress) -> str:
        encoder = load_encoder(upstream_folder("pretrain", cell, keys), protocol, prepared)
        on_device(encoder, device)
        rows = labelled_rows(prepared, cell)
        write_table(folder / SUBSET_FILE, prepared.samples.iloc[rows][["id"]])
        if cell.mode == "full":
            unfinished = CheckpointFile(checkpoint_file(key), key)
            _finetune(cell, encoder, prepared, rows, protocol, device, folder, on_progress, unfinished)
        else:
            _fit_frozen(encoder, prepared, rows, protocol, device, folder)
        return hardware_name(device)

    run_cells("finetune", dataset, method, protocol, compute, on_gpu=device.type == "cuda")


def labelled_rows(prepared: Prepared, cell: Cell) -> np.ndarray:
    """Rows of the training images whose labels a cell may use; the same for every method."""
    train = prepared.indices("train")
    seed = derived_seed(cell.seed, "label subset", cell.dataset)
    return train[label_subset(prepared.labels()[train], cell.fraction or 1.0, seed)]


def _finetune(
    cell: Cell,
    encoder: Encoder,
    prepared: Prepared,
    rows: np.ndarray,
    protocol: Protocol,
    device: torch.device,
    folder: Path,
    on_progress: OnProgress,
    unfinished: CheckpointFile,
) -> None:
    tuned = finetune(
        encoder,
        prepared,
        rows,
        protocol.finetune,
        protocol.views_of(cell.dataset, protocol.finetune_augmentation),
        protocol.hardware,
        device,
        cell.seed,
        on_progress,
        unfinished,
    )
    write_table(folder / HISTORY_FILE, pd.DataFrame(tuned.history))
    _write_predictions(folder, prepared, tuned.validation_probabilities, tuned.test_probabilities)
    scores = scores_of(prepared.card, prepared.labels()[prepared.indices("test")], tuned.test_probabilities)
    write_json(
        folder / METRICS_FILE,
        {**scores, "best_step": tuned.best_step, "labelled_images": len(rows), "seconds": tuned.seconds},
    )
    compared = prepared.indices("test")[: protocol.reuse.samples]
    before = pooled_features(encoder, prepared, compared, device)
    after = pooled_features(tuned.encoder, prepared, compared, device)
    arrays = {f"before_{i}": block for i, block in enumerate(before, start=1)}
    arrays |= {f"after_{i}": block for i, block in enumerate(after, start=1)}
    arrays["ids"] = prepared.samples["id"].to_numpy(dtype=str)[compared]
    np.savez(folder / FEATURES_FILE, allow_pickle=False, **arrays)


def _fit_frozen(
    encoder: Encoder,
    prepared: Prepared,
    rows: np.ndarray,
    protocol: Protocol,
    device: torch.device,
    folder: Path,
) -> None:
    everything = np.arange(len(prepared.samples))
    embedding = pooled_features(encoder, prepared, everything, device)[-1]
    probed = probe(embedding, prepared, rows, protocol.linear)
    _write_predictions(folder, prepared, probed.validation_probabilities, probed.test_probabilities)
    scores = scores_of(prepared.card, prepared.labels()[prepared.indices("test")], probed.test_probabilities)
    write_json(
        folder / METRICS_FILE,
        {**scores, "l2": probed.l2, "converged": probed.converged, "labelled_images": len(rows)},
    )


def _write_predictions(folder: Path, prepared: Prepared, validation: np.ndarray, test: np.ndarray) -> None:
    for file, split, probabilities in (
        (VALIDATION_FILE, "val", validation),
        (PREDICTIONS_FILE, "test", test),
    ):
        samples = prepared.samples.iloc[prepared.indices(split)]
        write_table(folder / file, predictions_table(samples, prepared.card, probabilities))
