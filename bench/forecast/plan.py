"""What a ``dvc repro`` of the current protocol would run: cells, time and disk."""

import io
import time
import timeit
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

import torch
from ruamel.yaml import YAML

from bench.cells.files import is_prepared
from bench.forecast.estimate import RunEstimate, image_bytes
from bench.machine.gpus import offered_gpus
from bench.machine.workers import cells_at_once
from bench.protocol.cell import dvc_stages
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import CELL_STAGES, STAGES, Work
from imssl.device import select_device
from imssl.encoder import build_encoder

# Seconds of a stage beside its cells on the reference machine (two cores of an AMD EPYC without AVX-512):
# starting its process, DVC's own work, and rewriting dvc.lock, which grows with the number of stages in it.
# `slowness` scales them to this machine; measure them again with `bench perf --only costs`.
START_SECONDS, DVC_SECONDS, DVC_SECONDS_PER_STAGE = 0.25, 0.08, 0.002
# Once in a run on that machine: starting the first process, reading the pipeline, writing the report.
ONCE_SECONDS = 12.0
# Seconds in which that machine reads and writes a lock file of so many stages.
LOCK_STAGES, LOCK_SECONDS = 8, 0.031
# Bytes of a sample's row in a results file, of the small files of a cell; copies of a file: in the store, in
# results, in DVC's cache.
ROW_BYTES, RECORD_BYTES, COPIES = 60, 2**13, 3


@dataclass(frozen=True)
class StagePlan:
    """The cells of one kind of stage.

    Attributes:
        stage: of the pipeline.
        cells: in all.
        missing: that are still to be computed.
        adopted: finished ones that lie in results/ and not in the store; a run brings them in.
        seconds: of the missing ones, one after another.
    """

    stage: str
    cells: int
    missing: int
    adopted: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """A run that has not happened yet.

    Attributes:
        stages: by kind.
        unprepared: data sets that have to be prepared first; their time is not in the plan.
        seconds: from start to end, on all workers, starts and DVC included.
        overhead: the part of it that computes no cell.
        bytes: that the missing cells and data sets will take on disk.
    """

    stages: list[StagePlan]
    unprepared: list[str]
    seconds: float
    overhead: float
    bytes: int


def plan(protocol: Protocol, estimate: RunEstimate, workers: int) -> Plan:
    """Sum up an estimate.

    Args:
        protocol: whose cells.
        estimate: of their seconds.
        workers: cells that run side by side.
    """
    stages = []
    together: dict[str, list[float]] = {}
    for stage in CELL_STAGES:
        cells = [cell for cell in estimate.cells if cell.stage == stage]
        missing = [cell for cell in cells if not estimate.is_done(cell)]
        adopted = len(estimate.adoptable.intersection(cells))
        stages.append(
            StagePlan(stage, len(cells), len(missing), adopted, sum(map(estimate.seconds, missing)))
        )
        for cell in missing:
            together.setdefault(cell.dvc_stage, []).append(estimate.seconds(cell))
    computing = sum(longest_worker(seconds, workers) for seconds in together.values())
    unprepared = [dataset for dataset in protocol.datasets if not is_prepared(dataset)]
    overhead = overhead_of(len(together) + len(unprepared), protocol)
    return Plan(stages, unprepared, computing + overhead, overhead, _bytes(protocol, estimate, unprepared))


def overhead_of(running: int, protocol: Protocol) -> float:
    """Seconds of a ``dvc repro`` that compute no cell.

    Args:
        running: stages that run.
        protocol: whose stages DVC keeps in its lock file.
    """
    if running == 0:
        return 0.0
    each = START_SECONDS + DVC_SECONDS + DVC_SECONDS_PER_STAGE * len(dvc_stages(protocol))
    return slowness() * (ONCE_SECONDS + running * each)


@cache
def slowness() -> float:
    """This machine's time for reading and writing a lock file, relative to the reference machine's."""
    entry = {"path": "results/a/b/c", "hash": "md5", "md5": "0" * 32, "size": 1000}
    lock = {
        f"stage{i}": {"cmd": "python", "deps": [entry] * 4, "outs": [entry] * 2} for i in range(LOCK_STAGES)
    }
    yaml = YAML()
    # A reference to what came before would be shorter than a lock file is.
    yaml.representer.ignore_aliases = lambda _: True

    def read_and_write() -> None:
        text = io.StringIO()
        yaml.dump(lock, text)
        yaml.load(text.getvalue())

    read_and_write()
    # The processor's time: on a busy machine the wall clock would count what others do.
    seconds = timeit.repeat(read_and_write, timer=time.process_time, number=1, repeat=5)
    return median(seconds) / LOCK_SECONDS


def at_once_here(protocol: Protocol, cells: int) -> int:
    """How many of some cells a stage of the largest images runs at a time on this machine."""
    on_gpu = select_device(protocol.hardware).type == "cuda"
    largest = max(dataset.size for dataset in protocol.datasets.values())
    gpus = max(1, len(offered_gpus())) if on_gpu else 1
    return cells_at_once(protocol.hardware.threads, cells, largest if on_gpu else None, gpus)


def longest_worker(seconds: Sequence[float], workers: int) -> float:
    """Seconds until all jobs are done, the longest first, each by the first worker that is free."""
    free = [0.0] * workers
    for job in sorted(seconds, reverse=True):
        first = free.index(min(free))
        free[first] += job
    return max(free)


def _bytes(protocol: Protocol, estimate: RunEstimate, unprepared: Sequence[str]) -> int:
    pixels = sum(image_bytes(dataset, protocol) for dataset in unprepared)
    with torch.device("meta"):
        encoder = build_encoder(protocol.encoder, 3)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in encoder.state_dict().values())
    features = 4 * sum(encoder.block_widths)
    works = [
        STAGES[cell.stage].work(estimate.size(cell)) for cell in estimate.cells if not estimate.is_done(cell)
    ]
    cells = sum(_cell_bytes(work, weights, 2 * features) for work in works)
    kept = sum(work.kept_features * features for work in works)
    # A prepared set lies in data/ and in DVC's cache.
    return 2 * pixels + COPIES * cells + kept


def _cell_bytes(work: Work, encoder: int, features: int) -> int:
    """Bytes of a cell's files, from those of an encoder and of one image's features, before and after."""
    return (
        RECORD_BYTES
        + work.encoders * encoder
        + work.prediction_rows * ROW_BYTES
        + work.feature_rows * features
    )
