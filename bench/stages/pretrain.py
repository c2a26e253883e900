"""Stage ``pretrain``: one method on one data set, an encoder per seed."""

from pathlib import Path

import pandas as pd
from dvclive import Live
from safetensors.torch import save_file

from bench.cells import Cell
from bench.progress import OnProgress
from bench.protocol import Protocol
from bench.registry import load_method
from bench.results import ENCODER_FILE, HISTORY_FILE, METRICS_FILE, data_folder, write_json, write_table
from bench.run_cells import run_cells
from bench.store import checkpoint_file
from imssl.checkpoint import remove_checkpoint
from imssl.datasets.prepared import read_prepared
from imssl.device import hardware_name, select_device
from imssl.encoder import Encoder, new_encoder
from imssl.method import Method, TrainingSet
from imssl.pretrain import Recipe, pretrain

CURVES = "curves"


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
        weights = {name: tensor.cpu().contiguous() for name, tensor in pretrained.encoder.state_dict().items()}
        save_file(weights, folder / ENCODER_FILE)
        write_table(folder / HISTORY_FILE, pd.DataFrame(pretrained.history))
        _write_curves(folder / CURVES, pretrained.history)
        write_json(
            folder / METRICS_FILE,
            {
                "images_seen": pretrained.images_seen,
                "trained_parameters": pretrained.trained_parameters,
                "seconds": pretrained.seconds,
                "peak_memory_mib": pretrained.peak_memory_mib,
            },
        )
        remove_checkpoint(checkpoint_file(key))
        return hardware_name(device)

    run_cells("pretrain", dataset, method, protocol, compute)


def _write_curves(folder: Path, history: list[dict[str, float | None]]) -> None:
    # Written from the history at the end, so that a resumed run has one curve and not two halves.
    with Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False) as live:
        for row in history:
            live.step = int(row["epoch"] or 0)
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    live.log_metric(name, value)
