"""Stage ``pretrain``: one method on one data set, an encoder per seed."""

from collections.abc import Mapping

import pandas as pd
from safetensors.torch import save
from torch import Tensor

from bench.cells.files import (
    ENCODER_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    STATISTICS_FILE,
    write_json,
    write_table,
)
from bench.cells.job import Job
from bench.cells.scores import number_rows
from bench.protocol.registry import load_method
from imssl.durable import write_bytes
from imssl.encoder import Encoder, new_encoder
from imssl.method import Method, TrainingSet
from imssl.pretrain import Recipe, pretrain


def compute(job: Job) -> None:
    """Pretrain one encoder."""
    cell, protocol, prepared = job.cell, job.protocol, job.prepared
    registered = load_method(cell.method, protocol, cell.dataset)

    def build(encoder: Encoder, training_set: TrainingSet) -> Method:
        return registered.method(encoder, registered.settings, training_set)

    recipe = Recipe(
        prepared=prepared,
        settings=registered.pretrain_on(cell.dataset, protocol),
        augmentation=protocol.augmentation_of(cell.dataset),
        hardware=protocol.hardware,
        device=job.device,
        seed=cell.seed,
    )
    encoder = new_encoder(protocol.encoder, prepared.images.shape[-1], cell.seed)
    pretrained = pretrain(encoder, build, recipe, job.checkpoint, job.key, job.on_progress)
    write_bytes(job.folder / ENCODER_FILE, _saved(pretrained.encoder.state_dict()))
    if pretrained.statistics_before:
        write_bytes(job.folder / STATISTICS_FILE, _saved(pretrained.statistics_before))
    write_table(job.folder / HISTORY_FILE, pd.DataFrame(pretrained.history))
    write_json(
        job.folder / METRICS_FILE,
        number_rows(
            {
                "images_seen": pretrained.images_seen,
                "trained_parameters": pretrained.trained_parameters,
                "batch_norm_filled": pretrained.batch_norm_filled,
                "seconds": pretrained.seconds,
                "peak_memory_mib": pretrained.peak_memory_mib,
            }
        ),
    )


def _saved(state: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.cpu().contiguous() for name, tensor in state.items()})
