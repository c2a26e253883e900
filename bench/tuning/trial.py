"""One trial: a method pretrained on every data set with the values that are tried, and judged there.

A trial's pretraining on a data set is a cell of its own in the store. Its encoder is not kept: the score is
what the search asks for, and twenty encoders of each method and data set would fill a disk.
"""

import hashlib
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from bench.cells import store
from bench.cells.encoders import load_encoder
from bench.cells.files import (
    ENCODER_FILE,
    HISTORY_FILE,
    STATISTICS_FILE,
    data_folder,
    read_json,
    read_table,
    write_json,
)
from bench.cells.job import Job
from bench.cells.keys import Keys
from bench.cells.records import CellRecord, provenance
from bench.machine.workers import in_own_process
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.stages.pretrain import compute
from bench.tuning.search import Judged
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.device import hardware_name, on_device, select_device
from imssl.encoder import Encoder, new_encoder
from imssl.errors import Diverged
from imssl.features import pooled_features
from imssl.linear import fit, predict_probabilities
from imssl.metrics import scores
from imssl.monitor import Monitor
from imssl.settings.probing import LinearSettings

# Of every trial, and of no run: the run's own seeds stay unseen by the search, and all trials start alike.
SEED = 2**31 - 1
# Of the last row of a training curve: macro AUROC of nearest neighbours, from training to validation images.
NEIGHBOURS_SCORE = "knn_macro_auroc"
LINEAR_FILE = "linear_score.json"


def judged(method: str, protocol: Protocol) -> Judged:
    """Pretrain a method for the length of a trial on each data set of a protocol, and score it on validation.

    Raises:
        UserError: a data set is not prepared, or the method refuses a value.
    """
    protocol = _with_length_of_trials(protocol)
    keys, by_dataset, failures = Keys(protocol), dict[str, float | None](), []
    for dataset in protocol.datasets:
        cell = Cell("pretrain", dataset, method, SEED)
        record = _finished(cell, keys)
        folder = store.cell_folder(cell, record.key)
        by_dataset[dataset] = _score(folder, protocol.tune.judge) if record.status == "done" else None
        if record.reason:
            failures.append(f"{dataset}: {record.reason}")
    return Judged(by_dataset, "; ".join(failures))


def untrained(protocol: Protocol) -> Judged:
    """The same judge on encoders as they are initialised: what a method that learns something has to beat.

    Raises:
        UserError: a data set is not prepared.
    """
    return in_own_process(partial(_untrained, protocol))


def _untrained(protocol: Protocol) -> Judged:
    device, by_dataset = select_device(protocol.hardware), dict[str, float | None]()
    for dataset in protocol.datasets:
        prepared = read_prepared(data_folder(dataset))
        encoder = new_encoder(protocol.encoder, prepared.images.shape[-1], SEED)
        on_device(encoder, device)
        by_dataset[dataset] = (
            _linear_score(encoder, prepared, protocol.linear, device)
            if protocol.tune.judge == "linear"
            else Monitor(prepared, device, SEED).scores(encoder)[NEIGHBOURS_SCORE]
        )
    return Judged(by_dataset)


def _with_length_of_trials(protocol: Protocol) -> Protocol:
    """The protocol with pretraining as long as ``tune.length`` says."""
    share = protocol.tune.length
    if share == 1:
        return protocol
    datasets = {
        name: settings.model_copy(update={"pretrain": protocol.pretrain_of(name).shortened(share)})
        for name, settings in protocol.datasets.items()
    }
    return protocol.model_copy(update={"datasets": datasets})


def _finished(cell: Cell, keys: Keys) -> CellRecord:
    """The record of a trial's cell, from the store or computed now."""
    # Not the key of a pretraining cell, whose encoder others may ask for.
    words = f"trial of {keys.key(cell)}"
    if keys.protocol.tune.judge == "linear":
        words += f" judged by {keys.protocol.linear.model_dump_json()}"
    key = hashlib.sha256(words.encode()).hexdigest()
    record = store.finished(cell, key)
    return record if record is not None else in_own_process(partial(_computed, cell, key, keys.protocol))


def _computed(cell: Cell, key: str, protocol: Protocol) -> CellRecord:
    keys, started, clock = Keys(protocol), datetime.now(UTC), time.monotonic()
    failure = None
    with store.writing(cell, key) as folder:
        job = Job(cell, keys, folder, lambda _done, _steps: None)
        try:
            compute(job)
            if keys.protocol.tune.judge == "linear":
                encoder = load_encoder(job.folder, job.protocol, job.prepared)
                on_device(encoder, job.device)
                score = _linear_score(encoder, job.prepared, job.protocol.linear, job.device)
                write_json(folder / LINEAR_FILE, {"macro_auroc": score})
            for file in (ENCODER_FILE, STATISTICS_FILE):
                (folder / file).unlink(missing_ok=True)
        except Diverged as error:
            failure = str(error)
        device = hardware_name(job.device)
        origin = provenance(
            started, time.monotonic() - clock, device, f"bench tune {cell.method}", keys.weights(cell)
        )
        record = store.keep(folder, cell, key, origin, failure)
    store.forget_checkpoint(job.key)
    return record


def _linear_score(
    encoder: Encoder, prepared: Prepared, settings: LinearSettings, device: torch.device
) -> float | None:
    """Macro AUROC on validation images of a linear classifier of the last block, fitted on training images.

    As in the stage ``frozen`` with all labels, the strength is the best one on validation images.
    """
    card, labels = prepared.card, prepared.labels()
    train, validation = prepared.indices("train"), prepared.indices("val")
    features = [pooled_features(encoder, prepared, rows, device)[-1] for rows in (train, validation)]
    task, classes = card.task, len(card.classes)
    scored = [
        scores(task, labels[validation], predict_probabilities(linear, features[1]), card.classes).macro_auroc
        for linear in fit(features[0], labels[train], task, classes, settings.l2, settings.class_weights)
    ]
    return max((score for score in scored if score is not None), default=None)


def _score(folder: Path, judge: str) -> float | None:
    if judge == "linear":
        linear = read_json(folder / LINEAR_FILE)["macro_auroc"]
        return None if linear is None else float(linear)
    score = read_table(folder / HISTORY_FILE)[NEIGHBOURS_SCORE].iloc[-1]
    return None if score != score else float(score)  # NaN where validation has one class only
