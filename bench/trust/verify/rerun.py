"""Cells computed once more in a scratch folder, by the current code from the stored inputs."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from bench.cells.files import CELL_FILE, cell_path, read_table, stage_folder
from bench.cells.keys import Keys
from bench.cells.records import CellRecord, Provenance, read_record
from bench.cells.store import cell_folder
from bench.protocol.cell import Cell, all_cells, cells_of
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES
from bench.trust.scratch import run_python, scratch_project
from imssl.device import hardware_name
from imssl.errors import UserError

# What a computation takes, not what it finds: other in every run.
COSTS = ("seconds", "peak_memory_mib", "images_per_second")


@dataclass(frozen=True)
class FileComparison:
    """A file of a cell beside the one that was made again.

    Attributes:
        name: of the file.
        equal: bit for bit, costs such as seconds aside.
        difference: largest absolute difference of its numbers; None if their number differs.
        between_seeds: the same between two seeds of the same cell; None with one seed.
    """

    name: str
    equal: bool
    difference: float | None
    between_seeds: float | None


@dataclass(frozen=True)
class Rerun:
    """A cell computed again.

    Attributes:
        title: of the cell.
        files: compared.
        elsewhere: what is another machine, device or package version than the record names; empty if none
            is, and then every bit must agree.
        seconds: that the cell took now.
    """

    title: str
    files: list[FileComparison]
    elsewhere: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether it is as it must be."""
        return bool(self.elsewhere) or all(file.equal for file in self.files)


def rerun_cells(protocol: Protocol, count: int, seed: int) -> list[Rerun]:
    """Compute some finished cells again, drawn at random.

    Args:
        protocol: of the run.
        count: how many, at least 1.
        seed: of the draw.

    Raises:
        UserError: no cell has results under today's code and settings, or a cell cannot be computed.
    """
    keys = Keys(protocol)
    records = {cell: read_record(cell_path(cell)) for cell in all_cells(protocol)}
    current = [
        cell
        for cell, record in records.items()
        if record is not None and record.status == "done" and record.key == keys.key(cell)
    ]
    if not current:
        raise UserError("no cell has results of today's code, settings and data. Run: dvc repro")
    drawn = np.random.default_rng(seed).choice(len(current), min(count, len(current)), replace=False)
    return [_rerun(current[i], protocol, keys) for i in drawn]


def _rerun(cell: Cell, protocol: Protocol, keys: Keys) -> Rerun:
    """Run the cell's stage where the store has all its other cells, so that only this one is computed."""
    stored, spec = cell_path(cell), STAGES[cell.stage]
    methods = list(protocol.methods) if spec.runs == "dataset" else [cell.method]
    with scratch_project() as folder:
        for stage in spec.builds_on:
            _link(stage_folder(stage, cell.dataset, cell.method), folder)
        for other in (c for method in methods for c in cells_of(cell.stage, cell.dataset, method, protocol)):
            if other != cell and (cell_path(other) / CELL_FILE).is_file():
                link = folder / cell_folder(other, keys.key(other))
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(cell_path(other).resolve())
        arguments = [{"dataset": cell.dataset, "method": cell.method}[name] for name in spec.arguments]
        ended = run_python(folder, ["-m", "bench.stage", cell.stage, *arguments])
        made = folder / stored
        record, old = read_record(made) if ended.returncode == 0 else None, read_record(stored)
        if record is None or old is None:
            raise UserError(f"{cell.title} could not be computed again:\n{ended.stderr.strip()}")
        names = sorted(old.files.keys() | record.files.keys())
        seeds = _other_seed(cell, protocol)
        return Rerun(
            title=cell.title,
            files=[_compared(name, stored / name, made / name, seeds) for name in names],
            elsewhere=_elsewhere(cell, old, record.provenance),
            seconds=record.provenance.seconds,
        )


def _link(path: Path, folder: Path) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).symlink_to(path.resolve())


def _other_seed(cell: Cell, protocol: Protocol) -> Path | None:
    """The same cell's folder under another seed, where there is one with results."""
    for other in cells_of(cell.stage, cell.dataset, cell.method, protocol):
        is_like = other.fraction == cell.fraction and other.seed != cell.seed
        if is_like and (cell_path(other) / CELL_FILE).is_file():
            return cell_path(other)
    return None


def _compared(name: str, stored: Path, made: Path, other_seed: Path | None) -> FileComparison:
    if not (stored.is_file() and made.is_file()):
        return FileComparison(name, False, None, None)
    between = _difference(stored, other_seed / name) if other_seed else None
    equal = content_digest(stored) == content_digest(made)
    return FileComparison(name, equal, 0.0 if equal else _difference(stored, made), between)


def content_digest(file: Path) -> str:
    """SHA-256 of what a file says, without what its computation cost."""
    if file.suffix == ".json":
        content = json.dumps(_without_costs(json.loads(file.read_text(encoding="utf-8"))), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
    if file.suffix == ".csv":
        table = read_table(file).drop(columns=list(COSTS), errors="ignore")
        return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _without_costs(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_costs(value) for name, value in content.items() if name not in COSTS}
    if isinstance(content, list):
        return [_without_costs(value) for value in content if not _is_cost(value)]
    return content


def _is_cost(row: Any) -> bool:
    """Whether a row of a cell's numbers says what the computation took."""
    return isinstance(row, dict) and row.get("metric") in COSTS


def _difference(first: Path, second: Path) -> float | None:
    """Largest absolute difference of two files' numbers; None where they do not correspond."""
    if not second.is_file():
        return None
    a, b = _numbers(first), _numbers(second)
    if a.shape != b.shape:
        return None
    gaps = np.abs(a - b)[~(np.isnan(a) & np.isnan(b))]
    return float(gaps.max()) if gaps.size else 0.0


def _numbers(file: Path) -> np.ndarray:
    """All numbers of a file, costs aside, (n,) float64."""
    if file.suffix == ".safetensors":
        return _flat([array for _, array in sorted(load_file(file).items())])
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as stored:
            return _flat([stored[name] for name in sorted(stored) if stored[name].dtype.kind in "fiu"])
    if file.suffix == ".csv":
        table = read_table(file, ("id", "patient")).drop(columns=[*COSTS, "id", "patient"], errors="ignore")
        return table.select_dtypes("number").to_numpy(dtype=np.float64).ravel()
    return np.array(list(_leaves(_without_costs(json.loads(file.read_text(encoding="utf-8"))))))


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *(array.ravel().astype(np.float64) for array in arrays)])


def _leaves(content: Any) -> list[float]:
    if isinstance(content, dict):
        return [leaf for name in sorted(content) for leaf in _leaves(content[name])]
    if isinstance(content, list):
        return [leaf for value in content for leaf in _leaves(value)]
    return [float(content)] if isinstance(content, int | float) else []


def _elsewhere(cell: Cell, old: CellRecord, now: Provenance) -> list[str]:
    """What differs between where the cell was made and where it was made again."""
    then = old.provenance
    devices = [(then.device, now.device)]
    if then.device == "CPU":  # the record does not say which; that of the encoder does
        pretrained = read_record(cell_path(Cell("pretrain", cell.dataset, cell.method, cell.seed)))
        device = pretrained.provenance.device if pretrained else ""
        processor, threads, _ = device.rpartition(", ")  # the number of threads is this process's own
        here = hardware_name(torch.device("cpu")).rpartition(", ")[0]
        # An encoder made on a GPU says nothing of the processor.
        devices = [(processor, here)] if threads else []
    pairs = [*devices, (then.python, now.python)]
    pairs += [
        (f"{name} {then.packages.get(name)}", f"{name} {now.packages.get(name)}")
        for name in sorted(then.packages.keys() | now.packages.keys())
    ]
    return [f"{before}, now {after}" for before, after in pairs if before != after]
