"""A stored file of a cell beside the one that a second computation made."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from bench.cells.files import read_table
from imssl.regular_file import checksum

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
        within_seeds: whether the difference is at most that between seeds, both of the numbers from -1 to 1,
            as scores and probabilities are, and of the others; False where that cannot be said.
    """

    name: str
    equal: bool
    difference: float | None
    between_seeds: float | None
    within_seeds: bool


def compared_file(name: str, stored: Path, made: Path, other_seed: Path | None) -> FileComparison:
    """A stored file of a cell beside the one that was made again, and another seed's where there is one."""
    if not (stored.is_file() and made.is_file()):
        return FileComparison(name, False, None, None, False)
    first = _numbers(stored)
    second_seed = _numbers(other_seed / name) if other_seed and (other_seed / name).is_file() else None
    between = None if second_seed is None else _difference(first, second_seed)
    if content_digest(stored) == content_digest(made):
        return FileComparison(name, True, 0.0, between, True)
    again = _numbers(made)
    within = second_seed is not None and _is_within(first, again, second_seed)
    return FileComparison(name, False, _difference(first, again), between, within)


def content_digest(file: Path) -> str:
    """SHA-256 of what a file says, without what its computation cost."""
    if file.suffix == ".json":
        content = json.dumps(_without_costs(json.loads(file.read_text(encoding="utf-8"))), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
    if file.suffix == ".csv":
        table = read_table(file).drop(columns=list(COSTS), errors="ignore")
        return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()
    return checksum(file)


def _without_costs(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_costs(value) for name, value in content.items() if name not in COSTS}
    if isinstance(content, list):
        return [_without_costs(value) for value in content if not _is_cost(value)]
    return content


def _is_cost(row: Any) -> bool:
    """Whether a row of a cell's numbers says what the computation took."""
    return isinstance(row, dict) and row.get("metric") in COSTS


def _difference(first: np.ndarray, second: np.ndarray) -> float | None:
    """Largest absolute difference of two files' numbers; None where they do not correspond."""
    if first.shape != second.shape:
        return None
    gaps = np.abs(first - second)[~(np.isnan(first) & np.isnan(second))]
    return float(gaps.max()) if gaps.size else 0.0


def _is_within(stored: np.ndarray, again: np.ndarray, other_seed: np.ndarray) -> bool:
    """Whether no number is further from the stored ones than another seed's are.

    Numbers from -1 to 1 are judged by themselves: beside a count of steps, any score would be close enough.
    """
    if not stored.shape == again.shape == other_seed.shape:
        return False
    sizes = np.abs(np.stack([stored, again, other_seed]))
    is_small = ~(sizes > 1).any(axis=0)
    for judged in (is_small, ~is_small):
        difference = _difference(stored[judged], again[judged])
        between = _difference(stored[judged], other_seed[judged])
        # Not a number compares as false: one that is undefined only now is a difference.
        if difference is None or between is None or not difference <= between:
            return False
    return True


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
