"""How long the cells of a run take: measured where a like cell has been finished, otherwise estimated."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.cells.files import data_folder
from bench.cells.keys import Keys
from bench.cells.method_facts import method_facts
from bench.cells.records import read_record
from bench.cells.store import cell_folder
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES, CellSize, Stage
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
    """Done and missing cells, and the seconds they take.

    Args:
        keys: of the protocol's cells.
        cells: which are looked at; all of the protocol where they are not given.
        costs: what a cell is made of; guessed where they are not given.
        rate: how much longer than expected other cells took, for those whose like has not been measured.
    """

    def __init__(
        self, keys: Keys, cells: Sequence[Cell] | None = None, costs: Costs | None = None, rate: float = 1.0
    ) -> None:
        self.protocol = protocol = keys.protocol
        self.costs = costs or guessed_costs(protocol)
        self.cells = list(all_cells(protocol) if cells is None else cells)
        datasets = {cell.dataset for cell in self.cells}
        self._images = {dataset: image_counts(dataset, protocol) for dataset in datasets}
        self._facts = method_facts(protocol)
        self._expected = {cell: self._work(cell) for cell in self.cells}
        self._rate = rate
        self._rates: dict[Stage, float] = {}
        self._measured: dict[Cell, float] = {}
        for cell in self.cells:
            seconds = _measured_seconds(cell, keys)
            if seconds is not None:
                self._measured[cell] = seconds
        self._compare()

    @property
    def total(self) -> float:
        """Seconds of all cells, done or not."""
        return sum(map(self.seconds, self.cells))

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
        return self._expected[cell] * self._rates.get(cell.stage, self._rate)

    def expected_seconds(self, cell: Cell) -> float:
        """Seconds of a cell by its costs alone."""
        return self._expected[cell]

    def done(self, cell: Cell, seconds: float) -> None:
        """A cell has been finished in this many seconds."""
        self._measured[cell] = seconds
        self._compare()

    def size(self, cell: Cell) -> CellSize:
        """What decides how much a cell has to do."""
        images, facts = self._images[cell.dataset], self._facts[cell.method]
        share = cell.fraction or 1.0
        validation_share = share if self.protocol.validation_labels == "same share" else 1.0
        filled_if_trained = self.protocol.pretrain.fill_batch_norm
        return CellSize(
            protocol=self.protocol,
            dataset=cell.dataset,
            images=images,
            labelled=max(1, round(share * images["train"])),
            labelled_validation=max(1, round(validation_share * images["val"])),
            pretrains=facts.pretrains,
            fills_batch_norm=filled_if_trained if facts.pretrains else facts.fills_batch_norm,
        )

    def _compare(self) -> None:
        """How much longer than expected the measured cells of each stage took, and all of them."""
        took: dict[Stage, float] = {}
        expected: dict[Stage, float] = {}
        for cell, seconds in self._measured.items():
            took[cell.stage] = took.get(cell.stage, 0.0) + seconds
            expected[cell.stage] = expected.get(cell.stage, 0.0) + self._expected[cell]
        self._rates = {stage: took[stage] / expected[stage] for stage in took}
        if took:
            self._rate = sum(took.values()) / sum(expected.values())

    def _work(self, cell: Cell) -> float:
        work, costs = STAGES[cell.stage].work(self.size(cell)), self.costs
        return (
            costs.fixed
            + work.pretraining_images * costs.pretrain[cell.dataset, cell.method]
            + work.finetuning_steps * costs.train_step[cell.dataset]
            + work.finetuning_images * costs.train[cell.dataset]
            + work.encoded_images * costs.forward[cell.dataset]
            + work.last_block_fits * costs.fit_last[cell.dataset]
            + work.all_block_fits * costs.fit_all[cell.dataset]
            + work.comparisons * costs.compare[cell.dataset]
        )


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
