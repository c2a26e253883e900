"""How long the cells of a run take: measured where a like cell has been finished, otherwise estimated."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench.cells.files import cell_path, data_folder
from bench.cells.keys import Keys
from bench.cells.method_facts import method_facts
from bench.cells.records import read_record
from bench.cells.store import cell_folder
from bench.cells.store.adopting import adoptable
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES, CellSize, Stage
from imssl.datasets.prepared import IMAGES_FILE, read_card
from imssl.errors import UserError
from imssl.settings.labels import EVERYTHING

# Guesses for before anything is measured; only their ratios matter once the first cell is.
FORWARD, FORWARD_AND_BACKWARD, FIXED = 1e-4, 3e-4, 0.2
UNPREPARED_IMAGES = 1000
UNPREPARED_CLASSES = 5


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
        compare: of the CKA of one label set, with its null, by data set.
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

    Attributes:
        adoptable: cells that lie finished among the results and not in the store.

    Args:
        keys: of the protocol's cells.
        cells: which are looked at; all of the protocol where they are not given.
        costs: what a cell is made of; guessed where they are not given.
        rate: how much longer than expected other cells took, for those whose like has not been measured.
        measured: seconds that the finished cells took; looked for where they are not given.
    """

    def __init__(
        self,
        keys: Keys,
        cells: Sequence[Cell] | None = None,
        costs: Costs | None = None,
        rate: float = 1.0,
        measured: Mapping[Cell, float] | None = None,
    ) -> None:
        self.protocol = protocol = keys.protocol
        self.costs = costs or guessed_costs(protocol)
        self.cells = list(all_cells(protocol) if cells is None else cells)
        datasets = {cell.dataset for cell in self.cells}
        self._images = {dataset: image_counts(dataset, protocol) for dataset in datasets}
        self._classes = {dataset: class_count(dataset) for dataset in datasets}
        self._facts = method_facts(protocol)
        self._expected = {cell: self._work(cell) for cell in self.cells}
        self._rate = rate
        # Seconds that the measured cells of each stage took, and were expected to take.
        self._took: dict[Stage, float] = {}
        self._foreseen: dict[Stage, float] = {}
        self._measured: dict[Cell, float] = {}
        self.adoptable = set(adoptable(self.cells, keys)) if measured is None else set[Cell]()
        if measured is None:
            measured = _measured(self.cells, keys, self.adoptable)
        for cell, seconds in measured.items():
            self.done(cell, seconds)

    @property
    def total(self) -> float:
        """Seconds of all cells, done or not."""
        return sum(map(self.seconds, self.cells))

    @property
    def seconds_left(self) -> float:
        """Seconds of the missing cells."""
        return sum(self.seconds(cell) for cell in self.cells if cell not in self._measured)

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell is in the store, or lies finished in results/, from where a run adopts it."""
        return cell in self._measured

    def seconds(self, cell: Cell) -> float:
        """Seconds the cell took, or is expected to take: its costs, corrected by what its like took."""
        if cell in self._measured:
            return self._measured[cell]
        return self._expected[cell] * self._rate_of(cell.stage)

    def expected_seconds(self, cell: Cell) -> float:
        """Seconds of a cell by its costs alone."""
        return self._expected[cell]

    def done(self, cell: Cell, seconds: float) -> None:
        """A cell has been finished in this many seconds."""
        stage, before = cell.stage, self._measured.get(cell)
        self._took[stage] = self._took.get(stage, 0.0) + seconds - (before or 0.0)
        if before is None:
            self._foreseen[stage] = self._foreseen.get(stage, 0.0) + self._expected[cell]
        self._measured[cell] = seconds

    def size(self, cell: Cell) -> CellSize:
        """What decides how much a cell has to do."""
        images, facts = self._images[cell.dataset], self._facts[cell.method]
        labelled = self._labelled(cell, images["train"])
        share = labelled / max(images["train"], 1)
        validation_share = share if self.protocol.validation_labels == "same share" else 1.0
        filled_if_trained = self.protocol.pretrain.fill_batch_norm
        is_trained = facts.pretrains or facts.pretrained_elsewhere
        return CellSize(
            protocol=self.protocol,
            dataset=cell.dataset,
            images=images,
            labelled=labelled,
            labelled_validation=max(1, round(validation_share * images["val"])),
            pretrains=facts.pretrains,
            takes_clean_pass=facts.takes_clean_pass,
            fills_batch_norm=filled_if_trained if is_trained else facts.fills_batch_norm,
        )

    def _labelled(self, cell: Cell, training_images: int) -> int:
        """Training images whose labels a cell may use; with k labels per class, were no class rare."""
        labels = cell.labels or EVERYTHING
        if labels.per_class is None:
            return max(1, round((labels.fraction or 1.0) * training_images))
        return min(labels.per_class * self._classes[cell.dataset], training_images)

    def _rate_of(self, stage: Stage) -> float:
        """How much longer than expected the measured cells of a stage took; where none is, those of all."""
        if stage in self._took:
            return self._took[stage] / self._foreseen[stage]
        return sum(self._took.values()) / sum(self._foreseen.values()) if self._took else self._rate

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


def image_bytes(dataset: str, protocol: Protocol) -> int:
    """Bytes of a data set's prepared images; guessed where it is not prepared."""
    file = data_folder(dataset) / IMAGES_FILE
    if file.is_file():
        return file.stat().st_size
    settings = protocol.datasets[dataset]
    return sum(image_counts(dataset, protocol).values()) * settings.size**2 * settings.channels


def class_count(dataset: str) -> int:
    """Classes of a data set; guessed where it is not prepared."""
    try:
        return len(read_card(data_folder(dataset)).classes)
    except UserError:
        return UNPREPARED_CLASSES


def _measured(cells: Sequence[Cell], keys: Keys, in_results: Collection[Cell]) -> dict[Cell, float]:
    """Seconds of the cells that are in the store, or finished among the results."""
    measured = {}
    for cell in cells:
        with suppress(UserError):  # its data set is not prepared, or its record is damaged
            record = read_record(cell_path(cell) if cell in in_results else cell_folder(cell, keys.key(cell)))
            if record is not None:
                measured[cell] = record.provenance.seconds
    return measured
