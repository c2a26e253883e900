"""A finished encoder with batch norm in two states: filled with the training images' statistics, and not."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from bench.cells.encoders import batch_norm_before_filling, load_encoder
from bench.cells.files import METRICS_FILE, cell_path, data_folder, read_json
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from imssl.datasets.label_sets import LabelledRows
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.device import on_device, select_device
from imssl.encoder import Encoder
from imssl.features import pooled_features
from imssl.filling import fill_from_training_images
from imssl.metrics import metric_value
from imssl.probe import probe
from imssl.training_images import TrainingImages


@dataclass(frozen=True)
class ProbedStates:
    """The linear probe of the last block, by the state of batch norm; None where the metric is undefined.

    Attributes:
        filled: test metric with the statistics of all training images.
        unfilled: with those that training has left or, without any training, with mean 0 and variance 1.
    """

    filled: float | None
    unfilled: float | None


def probe_both_states(cell: Cell, protocol: Protocol) -> ProbedStates:
    """Probe the encoder of a finished cell of pretraining in both states, as the stage ``probe`` does.

    Raises:
        UserError: a file of the cell, or its data set, cannot be read.
    """
    prepared, device = read_prepared(data_folder(cell.dataset)), select_device(protocol.hardware)
    encoder = load_encoder(cell_path(cell), protocol, prepared)
    on_device(encoder, device)
    filled, unfilled = _both_states(encoder, cell, prepared, device)
    return ProbedStates(
        filled=_last_block_probe(filled, prepared, protocol, device),
        unfilled=_last_block_probe(unfilled, prepared, protocol, device),
    )


def _both_states(
    encoder: Encoder, cell: Cell, prepared: Prepared, device: torch.device
) -> tuple[Encoder, Encoder]:
    """The encoder filled and unfilled: one of them is the stored one."""
    other = deepcopy(encoder)
    if _stored_is_filled(cell):
        other.load_state_dict(encoder.state_dict() | batch_norm_before_filling(cell_path(cell), encoder))
        return encoder, other
    images = TrainingImages(prepared.images, prepared.indices("train"), device)
    fill_from_training_images(other, images, prepared)
    return other, encoder


def _stored_is_filled(cell: Cell) -> bool:
    rows = read_json(cell_path(cell) / METRICS_FILE)
    return any(row["metric"] == "batch_norm_filled" and row["value"] for row in rows)


def _last_block_probe(
    encoder: Encoder, prepared: Prepared, protocol: Protocol, device: torch.device
) -> float | None:
    embedding = pooled_features(encoder, prepared, np.arange(len(prepared.samples)), device)[-1]
    labelled = LabelledRows(prepared.indices("train"), prepared.indices("val"))
    probed = probe(embedding, prepared, labelled, protocol.probe)
    card, labels = prepared.card, prepared.labels()[prepared.indices("test")]
    return metric_value(card.primary_metric, card.task, labels, probed.test_probabilities)
