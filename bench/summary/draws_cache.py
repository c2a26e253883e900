"""Arrays that are dear to compute, kept below .bench/ by a hash of everything that decides them."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bench.cells.store import STORE


def kept_arrays(key: str, compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
    """The array kept under a key; computed and kept where there is none, or where it cannot be read.

    A store that cannot be written, such as a read-only folder, costs time and nothing else.

    Args:
        key: hash of everything that decides the array.
        compute: makes it.
    """
    file = STORE / "draws" / f"{key}.npz"
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return arrays["values"]
    except (OSError, ValueError, KeyError, BadZipFile, EOFError):
        values = compute()
    with contextlib.suppress(OSError):
        _keep(file, values)
    return values


def _keep(file: Path, values: NDArray[np.float64]) -> None:
    """Write under a name of its own first: two reports may be written at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(suffix=".partial", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, values=values)
        Path(partial).replace(file)
    finally:
        Path(partial).unlink(missing_ok=True)
