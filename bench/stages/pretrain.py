"""Stage ``pretrain``: one method on one data set, an encoder per seed.

With ``hardware.devices`` above 1 torchrun starts this module in so many processes, which compute the cell
together: ``torchrun ... -m bench.stages.pretrain FOLDER``, with the request in that folder.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor

from bench.cells.files import (
    ENCODER_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    STARTING_POINT_FILE,
    STATISTICS_FILE,
    write_json,
    write_table,
)
from bench.cells.job import Job
from bench.cells.keys import Keys
from bench.cells.method_facts import facts_of
from bench.cells.scores import number_rows
from bench.conformance.surroundings.guard import guarded
from bench.machine.torchrun import COMMAND, Exchange, run_processes
from bench.protocol.cell import cell_fields, cell_in
from bench.protocol.protocol import Protocol
from bench.protocol.registry import RegisteredMethod, load_method, method_file
from bench.protocol.starting_points import starting_point
from imssl.device_kind import device_kind
from imssl.distributed import joined, processes
from imssl.durable import write_bytes
from imssl.encoder import Encoder, new_encoder, refuse_image_size
from imssl.encoders.weights import load_weights
from imssl.errors import Diverged, Stopped, UserError
from imssl.method import Method, TrainingSet
from imssl.pretrain import Pretrained, pretrain
from imssl.recipe import Recipe

# Column of the history that differs from run to run: images seen over seconds, from the start to each epoch.
SPEED = "images_per_second"


def compute(job: Job) -> None:
    """Pretrain one encoder, here or, with several devices, in processes under torchrun.

    Raises:
        Diverged: the loss is not finite, or the method's file reached beyond its own pretraining.
    """
    if job.protocol.hardware.devices > 1 and facts_of(job.cell.method, job.protocol).pretrains:
        _compute_under_torchrun(job)
    else:
        _compute_here(job)


def _compute_here(job: Job) -> None:
    # The suite's own reading, of images and of weights, comes before the method is guarded; so does torch's
    # and timm's own set-up.
    job.device  # noqa: B018
    encoder = _initial_encoder(job)
    with guarded(method_file(job.cell.method, job.protocol)) as guard:
        registered = load_method(job.cell.method, job.protocol, job.cell.dataset)
        guard.imported()
        pretrained = _pretrained(encoder, job, registered)
    if processes().is_first:
        _write(job, pretrained)


def _compute_under_torchrun(job: Job) -> None:
    """Let processes of their own compute the cell; this one keeps its claim and reports progress."""
    hardware = job.protocol.hardware
    _refuse_missing_gpus(job)
    exchange = Exchange(job.checkpoint.parent / "processes")
    cell = job.cell
    exchange.ask(
        {
            "cell": cell_fields(cell),
            "key": job.key,
            "folder": str(job.folder),
            "protocol": job.protocol.model_dump(mode="json", exclude_unset=True),
        }
    )
    costs = run_processes(
        "bench.stages.pretrain",
        exchange,
        hardware.devices,
        hardware.threads,
        job.on_progress,
        job.on_epoch,
    )
    job.costs.update(costs)


def _refuse_missing_gpus(job: Job) -> None:
    hardware = job.protocol.hardware
    if device_kind(hardware) == "cuda" and COMMAND not in os.environ:
        available = torch.cuda.device_count()
        if available < hardware.devices:
            raise UserError(
                f"params.yaml: hardware.devices is {hardware.devices}, but there are {available} GPUs here. "
                f"Set it to that or less, or have the processes started on several nodes ({COMMAND})."
            )


def _take_part(exchange: Exchange) -> dict[str, float]:
    """Compute the requested cell together with the other processes that torchrun has started.

    Returns:
        What this process has measured of its work, by name.
    """
    request = exchange.request
    protocol = Protocol.model_validate(request["protocol"])
    cell, keys = cell_in(request["cell"]), Keys(protocol)
    hardware = protocol.hardware
    if device_kind(hardware) == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    device = torch.device(device_kind(hardware))
    with joined(device, normalise_apart=not hardware.sync_batch_norm) as together:
        if keys.key(cell) != request["key"]:
            raise UserError("the code was saved while the run was at work. Run: dvc repro")
        if together.number != hardware.devices:
            raise UserError(
                f"{COMMAND} starts {together.number} processes, but hardware.devices is {hardware.devices}"
            )
        job = Job(cell, keys, Path(request["folder"]), lambda done, total: None)
        if together.is_first:
            job = replace(job, on_progress=exchange.tell, on_epoch=exchange.tell_epoch)
        _compute_here(job)
    return job.costs


def main() -> None:
    """What torchrun runs in each process; the first one writes down how it ended."""
    exchange = Exchange(Path(sys.argv[1]))
    ended = exchange.end if os.environ["RANK"] == "0" else lambda how, message="", costs=None: None
    try:
        costs = _take_part(exchange)
    except Stopped:
        ended("stopped")
    except Diverged as error:
        ended("diverged", str(error))
    except UserError as error:
        ended("refused", str(error))
    else:
        ended("done", costs=costs)


def _pretrained(encoder: Encoder, job: Job, registered: RegisteredMethod) -> Pretrained:
    cell, protocol = job.cell, job.protocol

    def build(encoder: Encoder, training_set: TrainingSet) -> Method:
        return registered.method(encoder, registered.settings, training_set)

    recipe = Recipe(
        prepared=job.prepared,
        settings=registered.pretrain_on(cell.dataset, protocol),
        augmentation=protocol.augmentation_of(cell.dataset),
        hardware=protocol.hardware,
        device=job.device,
        seed=cell.seed,
    )
    return pretrain(encoder, build, recipe, job.checkpoint, job.key, job.on_progress, job.on_epoch)


def _write(job: Job, pretrained: Pretrained) -> None:
    write_bytes(job.folder / ENCODER_FILE, _saved(pretrained.encoder.state_dict()))
    if pretrained.statistics_before:
        write_bytes(job.folder / STATISTICS_FILE, _saved(pretrained.statistics_before))
    history = pd.DataFrame(pretrained.history)
    job.costs.update(seconds=pretrained.seconds, peak_memory_mib=pretrained.peak_memory_mib)
    if SPEED in history:
        job.costs[SPEED] = float(history[SPEED].iloc[-1])
    write_table(job.folder / HISTORY_FILE, history.drop(columns=SPEED, errors="ignore"))
    write_json(
        job.folder / METRICS_FILE,
        number_rows(
            {
                "images_seen": pretrained.images_seen,
                "trained_parameters": pretrained.trained_parameters,
                "batch_norm_filled": pretrained.batch_norm_filled,
            }
        ),
    )


def _initial_encoder(job: Job) -> Encoder:
    """The encoder that the row starts from; how its weights were read, if from a file, is written down.

    Raises:
        Diverged: the row has no file for this data set, so it has no result there.
        UserError: the file does not hold this encoder or is not the one that the cell's key is of, or the row
            needs one and names none.
    """
    cell, protocol, images = job.cell, job.protocol, job.prepared.images
    facts = facts_of(cell.method, protocol)
    encoder = new_encoder(protocol.encoder, images.shape[-1], cell.seed)
    refuse_image_size(encoder, protocol.encoder.name, images.shape[1])
    start = starting_point(cell.method, cell.dataset, protocol, facts.from_scratch)
    if start is None:
        if facts.pretrained_elsewhere:
            raise UserError(
                f"params.yaml: methods.{cell.method} evaluates weights from a file, and names none. Give it "
                "initialisation: NAME, with NAME: FILE in the section initialisations."
            )
        return encoder
    if start.file is None:
        raise Diverged(f"initialisations.{start.initialisation} has no file for {cell.dataset}")
    loaded = load_weights(encoder, start.file)
    if loaded.sha256 != job.keys.weights(cell):
        raise UserError(f"{start.file} has changed since this run began. Run: dvc repro")
    read = {**asdict(loaded), "initialisation": start.initialisation, "file": start.file.name}
    if processes().is_first:
        write_json(job.folder / STARTING_POINT_FILE, read)
    return encoder


def _saved(state: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.cpu().contiguous() for name, tensor in state.items()})


if __name__ == "__main__":
    main()
