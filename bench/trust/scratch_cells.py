"""Compute cells in a scratch project: ``python -m bench.trust.scratch_cells NAME...``, in that order.

Each line of standard output is a cell's title, its steps done and those in all, as JSON.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from bench.cells.keys import Keys
from bench.launch.compute import attempt_cell
from bench.machine.system import end_with_parent
from bench.machine.workers import at_intervals
from bench.protocol.cell import cell_named
from bench.protocol.protocol import read_protocol
from bench.protocol.source_files.at_start import sources_at_start
from imssl.errors import UserError


def compute_cells(names: Sequence[str], tell: Callable[[str, int, int], None]) -> int:
    """Compute cells into the store of this folder.

    Args:
        names: of the cells, each after those that it builds on.
        tell: called with a cell's title, its steps done and those in all.

    Returns:
        0; or 1, after a message, where a cell could not be computed.
    """
    protocol = read_protocol()
    keys = Keys(protocol)
    for name in names:
        cell = cell_named(name, protocol)
        tell(cell.title, 0, 1)
        ended = attempt_cell(cell, keys, at_intervals(partial(tell, cell.title)))
        if ended.how != "done":
            print(f"{cell.title}: {ended.message}", file=sys.stderr, flush=True)
            return 1
    return 0


def main() -> int:
    """What the parent runs; the exit status is that of the computing."""
    end_with_parent()  # a killed command must not leave a training at work
    # The parent reads progress from here; what a method's file or a library prints goes elsewhere.
    progress = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(title: str, done: int, total: int) -> None:
        print(json.dumps([title, done, total]), file=progress, flush=True)

    sources_at_start()
    try:
        return compute_cells(sys.argv[1:], tell)
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
