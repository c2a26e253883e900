"""How long the cells of a run take: measured where a like cell has been finished, otherwise estimated."""

from functools import cached_property

from bench.cells import Cell, Keys, all_cells
from bench.protocol import Protocol
from bench.registry import load_method
from bench.results import data_folder, read_record
from bench.store import cell_folder
from imssl.datasets.prepared import read_card
from imssl.errors import UserError

# Seconds of a cell of which nothing is known yet, per unit of work (an image through the encoder once,
# forward). Only ratios matter before the first cell is measured; then measurements take over.
SECONDS_PER_UNIT = 1e-4
FORWARD, FORWARD_AND_BACKWARD, FIXED_UNITS = 1, 3, 2000
UNPREPARED_IMAGES = 1000


class Estimate:
    """Done and missing cells of a protocol, and the seconds they take.

    Attributes:
        total: seconds of all cells, done or not.
        seconds_left: of the cells that are missing.
    """

    def __init__(self, protocol: Protocol, keys: Keys) -> None:
        self.protocol = protocol
        self.cells = list(all_cells(protocol))
        self._images = {dataset: _image_counts(dataset, protocol) for dataset in protocol.datasets}
        self._pretrains = {
            method: load_method(method, protocol).method.pretrains for method in protocol.methods
        }
        self._units = {cell: self._work(cell) for cell in self.cells}
        self._measured: dict[Cell, float] = {}
        for cell in self.cells:
            measured = _measured_seconds(cell, keys)
            if measured is not None:
                self._measured[cell] = measured

    @property
    def total(self) -> float:
        """Seconds of all cells."""
        return sum(self.seconds(cell) for cell in self.cells)

    @property
    def seconds_left(self) -> float:
        """Seconds of the missing cells."""
        return sum(self.seconds(cell) for cell in self.cells if cell not in self._measured)

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell is in the store."""
        return cell in self._measured

    def seconds(self, cell: Cell) -> float:
        """Seconds the cell took, or by the rate of its stage is expected to take."""
        if cell in self._measured:
            return self._measured[cell]
        return self._units[cell] * self._rates.get((cell.stage, cell.mode), self._overall_rate)

    def done(self, cell: Cell, seconds: float) -> None:
        """A cell has been finished in this many seconds."""
        self._measured[cell] = seconds
        self.__dict__.pop("_rates", None)
        self.__dict__.pop("_overall_rate", None)

    @cached_property
    def _rates(self) -> dict[tuple[str, str | None], float]:
        seconds: dict[tuple[str, str | None], float] = {}
        units: dict[tuple[str, str | None], float] = {}
        for cell, measured in self._measured.items():
            kind = (cell.stage, cell.mode)
            seconds[kind] = seconds.get(kind, 0.0) + measured
            units[kind] = units.get(kind, 0.0) + self._units[cell]
        return {kind: seconds[kind] / units[kind] for kind in seconds}

    @cached_property
    def _overall_rate(self) -> float:
        units = sum(self._units[cell] for cell in self._measured)
        return sum(self._measured.values()) / units if units else SECONDS_PER_UNIT

    def _work(self, cell: Cell) -> float:
        train, everything = self._images[cell.dataset]
        protocol = self.protocol
        if cell.stage == "pretrain":
            if not self._pretrains[cell.method]:
                return FIXED_UNITS
            return FIXED_UNITS + protocol.pretrain.epochs * train * (FORWARD_AND_BACKWARD + FORWARD)
        if cell.stage == "finetune" and cell.mode == "full":
            labelled = max(1.0, (cell.fraction or 1.0) * train)
            batch = min(labelled, protocol.finetune.batch_size)
            images = max(protocol.finetune.epochs * labelled, protocol.finetune.min_steps * batch)
            evaluations = protocol.finetune.evaluations * 0.1 * everything
            return FIXED_UNITS + images * FORWARD_AND_BACKWARD + (evaluations + everything) * FORWARD
        if cell.stage in ("finetune", "probe"):
            return FIXED_UNITS + everything * FORWARD
        return FIXED_UNITS


def _image_counts(dataset: str, protocol: Protocol) -> tuple[float, float]:
    """Training images, and all images, of a data set; guessed where it is not prepared."""
    try:
        counts = read_card(data_folder(dataset)).counts
    except UserError:
        images = float(getattr(protocol.datasets[dataset], "patients", UNPREPARED_IMAGES))
        return 0.7 * images, images
    return counts["train"].samples, sum(split.samples for split in counts.values())


def _measured_seconds(cell: Cell, keys: Keys) -> float | None:
    try:
        record = read_record(cell_folder(cell, keys.key(cell)))
    except UserError:  # the data set is not prepared, so no cell of it can be finished
        return None
    return record.provenance.seconds if record else None
