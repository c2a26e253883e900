"""Stage ``probe``: a linear classifier on the pooled features of each block of the frozen encoder."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.cells.cell import Cell
from bench.cells.encoders import load_encoder
from bench.cells.files import METRICS_FILE, block_predictions_file, data_folder, write_json, write_table
from bench.cells.keys import Keys
from bench.cells.predictions import predictions_table
from bench.cells.scores import scores_of
from bench.forecast.progress import OnProgress
from bench.protocol.protocol import Protocol
from bench.stages.run_cells import run_cells, upstream_folder
from imssl.datasets.prepared import read_prepared
from imssl.device import hardware_name, on_device, select_device
from imssl.encoder import BLOCKS
from imssl.features import pooled_features
from imssl.probe import probe


def run(dataset: str, method: str, protocol: Protocol) -> None:
    """Probe the encoders of every seed; one pass over the images gives the features of all blocks."""
    device = select_device(protocol.hardware)
    prepared = read_prepared(data_folder(dataset))
    keys = Keys(protocol)
    test = prepared.indices("test")

    def compute(cell: Cell, key: str, folder: Path, on_progress: OnProgress) -> str:
        encoder = load_encoder(upstream_folder("pretrain", cell, keys), protocol, prepared)
        on_device(encoder, device)
        features = pooled_features(encoder, prepared, np.arange(len(prepared.samples)), device)
        metrics: dict[str, Any] = {}
        for block, block_features in enumerate(features, start=1):
            probed = probe(block_features, prepared, prepared.indices("train"), protocol.probe)
            table = predictions_table(prepared.samples.iloc[test], prepared.card, probed.test_probabilities)
            write_table(folder / block_predictions_file(block), table)
            metrics[f"block_{block}"] = {
                **scores_of(prepared.card, prepared.labels()[test], probed.test_probabilities),
                "validation_metric": probed.validation_metric,
                "l2": probed.l2,
                "converged": probed.converged,
            }
            on_progress(block, BLOCKS)
        write_json(folder / METRICS_FILE, metrics)
        return hardware_name(device)

    run_cells("probe", dataset, method, protocol, compute, on_gpu=device.type == "cuda")
