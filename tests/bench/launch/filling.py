"""What tests of all engines share: fill the store of a tiny project, and compare what is in it then."""

import hashlib
from pathlib import Path

from bench.cells.files import PROVENANCE_FILE
from bench.cells.keys import Keys
from bench.forecast.estimate import RunEstimate
from bench.launch.engines.fill import fill
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import read_protocol

CHAIN = ("*/chest/moco",)


class Silent:
    """Progress that nobody sees; it remembers what was given up."""

    def __init__(self) -> None:
        self.lost: dict[Cell, str] = {}

    def running(self, cell, done, total):
        pass

    def finished(self, cell, seconds, failure=None):
        pass

    def given_up(self, cell, why):
        self.lost[cell] = why


def filled(engine, cells=None, places=None):
    protocol = read_protocol()
    keys = Keys(protocol)
    cells = list(all_cells(protocol)) if cells is None else cells
    progress = Silent()
    return fill(cells, keys, RunEstimate(keys, cells), engine, progress, places=places), progress


def contents(folder=Path(".bench/cells")):
    """SHA-256 of the files of all cells by stage, key and name; what a clock decides is in the provenance."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.glob("*/*/*"))
        if file.name != PROVENANCE_FILE
    }
