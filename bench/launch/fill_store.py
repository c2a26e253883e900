"""Compute every missing cell of params.yaml into the store; the part of ``bench run`` between DVC's runs."""

import itertools
import json
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bench.cells import store
from bench.cells.keys import Keys
from bench.cells.store.adopting import adopt
from bench.forecast.estimate import RunEstimate
from bench.forecast.fill_progress import FillProgress
from bench.launch.engines.cluster import read_cluster
from bench.launch.engines.engine import Engine
from bench.launch.engines.fill import Outcome, fill
from bench.launch.run_cells import local_engine
from bench.machine.failures import NOTHING_LOST, exit_status
from bench.machine.lock import shared
from bench.machine.stop import TERMINATED, StopRequest, noticing_sigterm
from bench.protocol.cell import Cell, all_cells, built_on
from bench.protocol.nearest_name import did_you_mean
from bench.protocol.protocol import Protocol, read_protocol
from bench.protocol.stage_specs import CELL_STAGES
from imssl.errors import UserError

# Exit statuses that the driver acts on.
SOME_FAILED, OUTDATED = 1, 75


@dataclass(frozen=True)
class FillRequest:
    """What is to be computed, and where.

    Attributes:
        on: name of the engine.
        only: patterns STAGE/DATASET/METHOD or STAGE/DATASET/METHOD/SEED; empty for everything.
        workers: cells side by side; None for as many as the machine has room for.
        address: of a running cluster of Ray; None for that of cluster.yaml, or one on this machine.
        cells_per_gpu: how many share a GPU; None for that of cluster.yaml, or what suits the images.
        by_chain: whether a method's cells on a data set with a seed are finished before the next are begun.
    """

    on: str = "local"
    only: tuple[str, ...] = ()
    workers: int | None = None
    address: str | None = None
    cells_per_gpu: int | None = None
    by_chain: bool = False


def fill_store(arguments: list[str]) -> int:
    """Compute what a request (as JSON) asks for; 0, 1 where cells failed, 2, 75 where code was saved."""
    written = json.loads(arguments[0])
    request = FillRequest(**written | {"only": tuple(written["only"])})

    def work() -> int:
        with shared("bench run"), noticing_sigterm() as stop:
            return _filled(request, read_protocol(), stop)

    return exit_status(work, "bench run")


def wanted_cells(protocol: Protocol, only: tuple[str, ...]) -> list[Cell]:
    """The cells that patterns name, and those that they build on, in the order of the pipeline.

    Raises:
        UserError: a pattern is malformed or names no cell.
    """
    cells = list(all_cells(protocol))
    if not only:
        return cells
    named: set[Cell] = set()
    for pattern in only:
        parts = pattern.split("/")
        if len(parts) not in (3, 4):
            raise UserError(
                f"--only {pattern}: write STAGE/DATASET/METHOD, and /SEED behind it if you like, each a name "
                "or with wildcards, such as pretrain/*/moco"
            )
        matching = {cell for cell in cells if all(map(fnmatchcase, _names(cell), parts))}
        if not matching:
            raise UserError(
                f"--only {pattern} names no cell. Stages: {', '.join(CELL_STAGES)}; "
                f"data sets: {', '.join(protocol.datasets)}; methods: {', '.join(protocol.methods)}; "
                f"seeds: {', '.join(map(str, protocol.seeds))}.{_meant(parts, protocol)}"
            )
        named |= matching
    waiting = list(named)
    while waiting:
        earlier = set(built_on(waiting.pop(), protocol)) - named
        named |= earlier
        waiting += earlier
    return [cell for cell in cells if cell in named]


def _meant(parts: list[str], protocol: Protocol) -> str:
    """What somebody may have meant by those parts of a pattern that no name matches."""
    known: list[list[str]] = [list(CELL_STAGES), list(protocol.datasets), list(protocol.methods)]
    return "".join(
        did_you_mean(part.strip("*"), names)
        for part, names in zip(parts, known, strict=False)
        if not any(fnmatchcase(name, part) for name in names)
    )


def _names(cell: Cell) -> tuple[str, str, str, str]:
    return cell.stage, cell.dataset, cell.method, str(cell.seed)


def chain_places(protocol: Protocol) -> dict[Cell, int]:
    """The place of every cell's chain: all methods and data sets with the first seed, then the next seed."""
    chains = itertools.product(protocol.seeds, protocol.datasets, protocol.methods)
    place = {chain: number for number, chain in enumerate(chains)}
    return {cell: place[cell.seed, cell.dataset, cell.method] for cell in all_cells(protocol)}


def _filled(request: FillRequest, protocol: Protocol, stop: StopRequest) -> int:
    keys = Keys(protocol)
    cells = wanted_cells(protocol, request.only)
    adopt(cells, keys)
    missing = [cell for cell in cells if not store.finished(cell, keys.key(cell))]
    if not missing:
        print(f"all {len(cells)} cells are in the store")
        return 0
    estimate = RunEstimate(keys, cells)
    progress = FillProgress(estimate, missing, len(cells) - len(missing), request.on)
    engine = _engine(request, missing, keys, progress)
    if request.on != "slurm":  # whose queue says nothing of how many will run
        progress.at_once = max(1, engine.room)
    try:
        with progress.shown():
            places = chain_places(protocol) if request.by_chain else {}
            outcome = fill(missing, keys, estimate, engine, progress, stop, places)
    finally:
        engine.close()
    print(progress.result(), flush=True)
    return _exit_status(outcome)


def _engine(request: FillRequest, missing: list[Cell], keys: Keys, progress: FillProgress) -> Engine:
    """The engine that a request names.

    Raises:
        UserError: its library is not installed, or it does not answer.
    """
    cluster = read_cluster()
    if request.cells_per_gpu is not None:
        cluster = cluster.model_copy(update={"cells_per_gpu": request.cells_per_gpu})
    if request.on == "local":
        return local_engine(missing, keys, progress, request.workers, cluster.cells_per_gpu)
    try:
        if request.on == "ray":
            from bench.launch.engines.ray import RayEngine

            if request.address is not None:
                address = cluster.ray.model_copy(update={"address": request.address})
                cluster = cluster.model_copy(update={"ray": address})
            return RayEngine(keys, cluster, request.workers)
        from bench.launch.engines.slurm import SlurmEngine

        return SlurmEngine(keys, cluster, request.workers)
    except ModuleNotFoundError as error:
        raise UserError(
            f"bench run --on {request.on} needs {error.name}. Install it: pip install "
            f"'imssl-bench[{request.on}]'"
        ) from None


def _exit_status(outcome: Outcome) -> int:
    """Print what a person should know about the outcome; the exit status."""
    for cell, reason in outcome.diverged.items():
        print(f"diverged, and kept as a hole in the report: {cell.title}: {reason}")
    if outcome.failed:
        lines = [f"  {cell.title}: {why}" for cell, why in outcome.failed.items()]
        if outcome.skipped:
            lines.append(f"  skipped, as they build on these: {len(outcome.skipped)} cells")
        what = (
            "1 cell could not be computed"
            if len(outcome.failed) == 1
            else (f"{len(outcome.failed)} cells could not be computed")
        )
        print("\n".join([f"error: {what}; {len(outcome.done)} others are kept:", *lines]), file=sys.stderr)
    if outcome.outdated:
        print(outcome.outdated, file=sys.stderr)
        return OUTDATED
    if outcome.stopped:
        print(f"stopped by SIGTERM. {NOTHING_LOST}", file=sys.stderr)
        return TERMINATED
    return SOME_FAILED if outcome.failed else 0


def finished_stages(protocol: Protocol, only: tuple[str, ...]) -> list[str]:
    """DVC's stages with cells that patterns name, all of whose cells are in the store."""
    keys = Keys(protocol)
    wanted = {cell.dvc_stage for cell in wanted_cells(protocol, only)}
    cells = [cell for cell in all_cells(protocol) if cell.dvc_stage in wanted]
    unfinished = {cell.dvc_stage for cell in cells if not store.finished(cell, keys.key(cell))}
    return [name for name in dict.fromkeys(cell.dvc_stage for cell in cells) if name not in unfinished]
