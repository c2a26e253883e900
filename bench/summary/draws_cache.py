"""Arrays that are dear to compute, kept below .bench/ by a hash of everything that decides them."""

from collections.abc import Callable
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bench.cells.files import DRAWS, keep_arrays


def kept_arrays(key: str, compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
    """The array kept under a key; computed and kept where there is none, or where it cannot be read.

    A store that cannot be written, such as a read-only folder, costs time and nothing else.

    Args:
        key: hash of everything that decides the array.
        compute: makes it.
    """
    file = DRAWS / f"{key}.npz"
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return arrays["values"]
    except (OSError, ValueError, KeyError, BadZipFile, EOFError):
        values = compute()
    keep_arrays(file, {"values": values})
    return values
