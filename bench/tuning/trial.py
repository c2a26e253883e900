"""One trial: a method pretrained on every data set with the values that are tried, and judged there.

A trial's pretraining on a data set is a cell of its own in the store. Its encoder is not kept: the score is
what the search asks for, and twenty encoders of each method and data set would fill a disk.
"""

import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.cells import store
from bench.cells.files import ENCODER_FILE, HISTORY_FILE, STATISTICS_FILE, read_table
from bench.cells.job import Job
from bench.cells.keys import Keys
from bench.cells.records import CellRecord, provenance
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.stages.pretrain import compute
from bench.tuning.search import Judged
from imssl.device import hardware_name
from imssl.errors import Diverged

# Of every trial, and of no run: the run's own seeds stay unseen by the search, and all trials start alike.
SEED = 2**31 - 1
# Of the last row of a training curve: macro AUROC of nearest neighbours, from training to validation images.
SCORE = "knn_macro_auroc"


def judged(method: str, protocol: Protocol) -> Judged:
    """Pretrain a method as a protocol says, on each of its data sets, and score it on validation images.

    Raises:
        UserError: a data set is not prepared, or the method refuses a value.
    """
    keys, scores, failures = Keys(protocol), {}, []
    for dataset in protocol.datasets:
        cell = Cell("pretrain", dataset, method, SEED)
        record = _finished(cell, keys)
        scores[dataset] = _score(store.cell_folder(cell, record.key)) if record.status == "done" else None
        if record.reason:
            failures.append(f"{dataset}: {record.reason}")
    return Judged(scores, "; ".join(failures))


def _finished(cell: Cell, keys: Keys) -> CellRecord:
    """The record of a trial's cell, from the store or computed now."""
    # Not the key of a pretraining cell, whose encoder others may ask for.
    key = hashlib.sha256(f"trial of {keys.key(cell)}".encode()).hexdigest()
    record = store.finished(cell, key)
    return record if record is not None else _computed(cell, key, keys)


def _computed(cell: Cell, key: str, keys: Keys) -> CellRecord:
    started, clock = datetime.now(UTC), time.monotonic()
    failure = None
    with store.writing(cell, key) as folder:
        job = Job(cell, keys, folder, lambda _done, _steps: None)
        try:
            compute(job)
            for file in (ENCODER_FILE, STATISTICS_FILE):
                (folder / file).unlink(missing_ok=True)
        except Diverged as error:
            failure = str(error)
        device = hardware_name(job.device)
        origin = provenance(started, time.monotonic() - clock, device, f"bench tune {cell.method}")
        record = store.keep(folder, cell, key, origin, failure)
    store.forget_checkpoint(job.key)
    return record


def _score(folder: Path) -> float | None:
    score = read_table(folder / HISTORY_FILE)[SCORE].iloc[-1]
    return None if score != score else float(score)  # NaN where validation has one class only
