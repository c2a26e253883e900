"""Adopt cells that lie finished among the results but not in the store, as after ``dvc pull``.

DVC removes a stage's output before it runs the stage. What is not in the store by then is computed again.
"""

from collections.abc import Iterable

from bench.cells import store
from bench.cells.files import CELL_FILE, cell_path
from bench.cells.keys import Keys
from bench.protocol.cell import Cell
from imssl.errors import UserError


def adopt(cells: Iterable[Cell], keys: Keys) -> list[Cell]:
    """Bring cells from the results into the store that lie there intact under their key.

    Returns:
        Those that were brought in.
    """
    return [cell for cell in _only_in_results(cells, keys) if _bring_in(cell, keys)]


def adoptable(cells: Iterable[Cell], keys: Keys) -> list[Cell]:
    """The cells that :func:`adopt` would bring in."""
    return [cell for cell in _only_in_results(cells, keys) if store.intact(cell_path(cell), keys.key(cell))]


def _bring_in(cell: Cell, keys: Keys) -> bool:
    return store.bring_in(cell, keys.key(cell), cell_path(cell))


def _only_in_results(cells: Iterable[Cell], keys: Keys) -> list[Cell]:
    missing = []
    for cell in cells:
        # Most are in both or in neither, as two looks at the disk show.
        if not (cell_path(cell) / CELL_FILE).is_file():
            continue
        try:
            key = keys.key(cell)
        except UserError:  # its data set is not prepared, so it cannot have been computed from it
            continue
        if not (store.cell_folder(cell, key) / CELL_FILE).is_file():
            missing.append(cell)
    return missing
