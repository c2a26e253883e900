"""Stage ``pretrain``: one method on one data set, an encoder per seed."""

import shutil
from pathlib import Path

import pandas as pd
from dvclive import Live
from safetensors.torch import save

from bench.cells.cell import Cell, cells_of
from bench.cells.files import (
    ENCODER_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    data_folder,
    read_table,
    stage_folder,
    write_json,
    write_table,
)
from bench.cells.store import checkpoint_file
from bench.forecast.progress import OnProgress
from bench.protocol.protocol import Protocol
from bench.protocol.registry import load_method
from bench.stages.run_cells import run_cells
from imssl.datasets.prepared import read_prepared
from imssl.device import hardware_name, select_device
from imssl.durable import write_bytes
from imssl.encoder import Encoder, new_encoder
from imssl.method import Method, TrainingSet
from imssl.pretrain import Recipe, pretrain


def run(dataset: str, method: str, protocol: Protocol) -> None:
    """Pretrain for every seed."""
    device = select_device(protocol.hardware)
    prepared = read_prepared(data_folder(dataset))
    registered = load_method(method, protocol)

    def build(encoder: Encoder, training_set: TrainingSet) -> Method:
        return registered.method(encoder, registered.settings, training_set)

    def compute(cell: Cell, key: str, folder: Path, on_progress: OnProgress) -> str:
        recipe = Recipe(
            prepared=prepared,
            settings=protocol.pretrain,
            augmentation=protocol.views_of(dataset, protocol.augmentation),
            hardware=protocol.hardware,
            device=device,
            seed=cell.seed,
        )
        encoder = new_encoder(protocol.encoder, prepared.images.shape[-1], cell.seed)
        pretrained = pretrain(encoder, build, recipe, checkpoint_file(key), key, on_progress)
        weights = {
            name: tensor.cpu().contiguous() for name, tensor in pretrained.encoder.state_dict().items()
        }
        write_bytes(folder / ENCODER_FILE, save(weights))
        write_table(folder / HISTORY_FILE, pd.DataFrame(pretrained.history))
        write_json(
            folder / METRICS_FILE,
            {
                "images_seen": pretrained.images_seen,
                "trained_parameters": pretrained.trained_parameters,
                "seconds": pretrained.seconds,
                "peak_memory_mib": pretrained.peak_memory_mib,
            },
        )
        return hardware_name(device)

    run_cells("pretrain", dataset, method, protocol, compute, on_gpu=device.type == "cuda")
    _write_curves(dataset, method, protocol)


def _write_curves(dataset: str, method: str, protocol: Protocol) -> None:
    """Training curves in dvclive's form, for `dvc plots show`.

    They are written from the stored history at the end, so that a resumed run has one curve and not two
    halves, and a reused cell has one at all.
    """
    curves = stage_folder("curves", dataset, method)
    shutil.rmtree(curves, ignore_errors=True)
    curves.mkdir(parents=True)
    for cell in cells_of("pretrain", dataset, method, protocol):
        history = stage_folder("pretrain", dataset, method) / cell.folder / HISTORY_FILE
        if not history.exists():  # the cell has failed
            continue
        with Live(str(curves / cell.folder), save_dvc_exp=False, dvcyaml=None, report=None) as live:
            for row in read_table(history).to_dict("records"):
                live.step = int(row.pop("epoch"))
                for name, value in row.items():
                    if pd.notna(value):
                        live.log_metric(str(name), float(value))
