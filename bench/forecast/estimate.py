"""How long the cells of a run take: measured where a like cell has been finished, otherwise estimated."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bench.cells.cell import Cell, all_cells
from bench.cells.files import data_folder
from bench.cells.keys import Keys
from bench.cells.records import read_record
from bench.cells.store import cell_folder
from bench.protocol.protocol import Protocol
from bench.protocol.registry import load_method
from imssl.datasets.prepared import read_card
from imssl.errors import UserError

# Guesses for before anything is measured; only their ratios matter once the first cell is.
FORWARD, FORWARD_AND_BACKWARD, FIXED = 1e-4, 3e-4, 0.2
UNPREPARED_IMAGES = 1000


@dataclass(frozen=True)
class Costs:
    """Seconds of what cells are made of, on one worker.

    Attributes:
        fixed: of every cell: files, checksums, provenance.
        pretrain: of an image in a step, by (data set, method).
        train_step: of a step of fine-tuning, however many images it has, by data set.
        train: of each image in it, by data set.
        forward: of an image through the frozen encoder, by data set.
        fit_last: of a labelled image in the linear classifiers of the last block, by data set.
        fit_all: likewise of all four blocks.
        compare: of the CKA of one label fraction, with its null, by data set.
    """

    fixed: float
    pretrain: Mapping[tuple[str, str], float]
    train_step: Mapping[str, float]
    train: Mapping[str, float]
    forward: Mapping[str, float]
    fit_last: Mapping[str, float]
    fit_all: Mapping[str, float]
    compare: Mapping[str, float]


def guessed_costs(protocol: Protocol) -> Costs:
    """Costs of which nothing is known: alike for every data set and method."""
    nothing = dict.fromkeys(protocol.datasets, 0.0)
    pairs = itertools.product(protocol.datasets, protocol.methods)
    return Costs(
        fixed=FIXED,
        pretrain=dict.fromkeys(pairs, FORWARD_AND_BACKWARD + FORWARD),
        train_step=nothing,
        train=dict.fromkeys(protocol.datasets, FORWARD_AND_BACKWARD),
        forward=dict.fromkeys(protocol.datasets, FORWARD),
        fit_last=nothing,
        fit_all=nothing,
        compare=nothing,
    )


class RunEstimate:
    """Done and missing cells of a protocol, and the seconds they take.

    Args:
        protocol: whose cells.
        keys: of its cells.
        costs: what a cell is made of; guessed where they are not given.

    Attributes:
        total: seconds of all cells, done or not.
        seconds_left: of the cells that are missing.
    """

    def __init__(self, protocol: Protocol, keys: Keys, costs: Costs | None = None) -> None:
        self.protocol = protocol
        self.costs = costs or guessed_costs(protocol)
        self.cells = list(all_cells(protocol))
        self._images = {dataset: image_counts(dataset, protocol) for dataset in protocol.datasets}
        self._pretrains = {
            method: load_method(method, protocol).method.pretrains for method in protocol.methods
        }
        self._expected = {cell: self._work(cell) for cell in self.cells}
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
        """Seconds the cell took, or is expected to take: its costs, corrected by what its like took."""
        if cell in self._measured:
            return self._measured[cell]
        return self._expected[cell] * self._rates.get((cell.stage, cell.mode), self._overall_rate)

    def done(self, cell: Cell, seconds: float) -> None:
        """A cell has been finished in this many seconds."""
        self._measured[cell] = seconds
        self.__dict__.pop("_rates", None)
        self.__dict__.pop("_overall_rate", None)

    @cached_property
    def _rates(self) -> dict[tuple[str, str | None], float]:
        """How much longer than expected the measured cells of each kind took."""
        took: dict[tuple[str, str | None], float] = {}
        expected: dict[tuple[str, str | None], float] = {}
        for cell, measured in self._measured.items():
            kind = (cell.stage, cell.mode)
            took[kind] = took.get(kind, 0.0) + measured
            expected[kind] = expected.get(kind, 0.0) + self._expected[cell]
        return {kind: took[kind] / expected[kind] for kind in took}

    @cached_property
    def _overall_rate(self) -> float:
        expected = sum(self._expected[cell] for cell in self._measured)
        return sum(self._measured.values()) / expected if expected else 1.0

    def _work(self, cell: Cell) -> float:
        """Seconds of a cell by its costs alone."""
        return self.costs.fixed + {
            "pretrain": self._pretraining,
            "finetune": self._finetuning if cell.mode == "full" else self._frozen,
            "probe": self._probing,
            "reuse": self._reusing,
        }.get(cell.stage, lambda _: 0.0)(cell)

    def _pretraining(self, cell: Cell) -> float:
        # Imported here: a stage that trains nothing must not load what trains.
        from imssl.monitor import LARGEST_BANK, MOST_QUERIES

        images, settings = self._images[cell.dataset], self.protocol.pretrain
        watched = min(images["train"], LARGEST_BANK) + min(images["val"], MOST_QUERIES)
        monitor = self.costs.forward[cell.dataset] * watched
        if not self._pretrains[cell.method]:
            return monitor
        batches = max(1, images["train"] // settings.batch_size)
        trained = settings.epochs * batches * settings.batch_size
        step = self.costs.pretrain[cell.dataset, cell.method]
        return trained * step + -(-settings.epochs // settings.monitor_every) * monitor

    def _finetuning(self, cell: Cell) -> float:
        images, settings = self._images[cell.dataset], self.protocol.finetune
        labelled = self._labelled(cell)
        per_epoch = -(-labelled // settings.batch_size)
        steps = max(settings.epochs * per_epoch, settings.min_steps)
        step = self.costs.train_step[cell.dataset] + labelled / per_epoch * self.costs.train[cell.dataset]
        predicted = (settings.evaluations + 1) * images["val"] + images["test"]
        compared = 2 * min(self.protocol.reuse.samples, images["test"])
        return steps * step + (predicted + compared) * self.costs.forward[cell.dataset]

    def _frozen(self, cell: Cell) -> float:
        extraction = sum(self._images[cell.dataset].values()) * self.costs.forward[cell.dataset]
        return extraction + self._labelled(cell) * self.costs.fit_last[cell.dataset]

    def _probing(self, cell: Cell) -> float:
        images = self._images[cell.dataset]
        fit = images["train"] * self.costs.fit_all[cell.dataset]
        return sum(images.values()) * self.costs.forward[cell.dataset] + fit

    def _reusing(self, cell: Cell) -> float:
        return len(self.protocol.label_fractions) * self.costs.compare[cell.dataset]

    def _labelled(self, cell: Cell) -> int:
        return max(1, round((cell.fraction or 1.0) * self._images[cell.dataset]["train"]))


def image_counts(dataset: str, protocol: Protocol) -> dict[str, int]:
    """Images of a data set by split; guessed where it is not prepared."""
    try:
        return {split: count.samples for split, count in read_card(data_folder(dataset)).counts.items()}
    except UserError:
        # A phantom's patient has four images on average.
        images = 4 * getattr(protocol.datasets[dataset], "patients", UNPREPARED_IMAGES // 4)
        return {"train": round(0.7 * images), "val": round(0.1 * images), "test": round(0.2 * images)}


def _measured_seconds(cell: Cell, keys: Keys) -> float | None:
    try:
        record = read_record(cell_folder(cell, keys.key(cell)))
    except UserError:  # the data set is not prepared, so no cell of it can be finished
        return None
    return record.provenance.seconds if record else None
