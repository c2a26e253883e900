"""Cells: the smallest pieces of a run that are computed, kept and reused on their own.

Nothing here looks at the disk: which cells there are, the protocol alone decides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from bench.protocol.label_columns import label_columns, labels_in
from bench.protocol.nearest_name import did_you_mean
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import CELL_STAGES, STAGES, Stage
from imssl.errors import UserError
from imssl.settings.labels import LabelSet

CELL_NAMES = (
    "A cell is named stage/dataset/method/seed-N, and with its labels where its stage has a cell for each, "
    "such as finetune/phantom-chest/moco/seed-0/fraction-0.1."
)


@dataclass(frozen=True)
class Cell:
    """One piece of a run.

    Attributes:
        stage: of the pipeline; also what results.csv calls the evaluation.
        dataset: its id.
        method: its id.
        seed: of the run.
        labels: how many it may use; None in stages without one cell per label set.
    """

    stage: Stage
    dataset: str
    method: str
    seed: int
    labels: LabelSet | None = None

    @property
    def folder(self) -> str:
        """Folder of the cell's results inside the output of its stage and method."""
        if self.labels is None:
            return f"seed-{self.seed}"
        return f"seed-{self.seed}/{self.labels.folder}"

    @property
    def dvc_stage(self) -> str:
        """Name that DVC gives the stage that the cell belongs to."""
        group = self.dataset if STAGES[self.stage].runs == "dataset" else f"{self.dataset}-{self.method}"
        return f"{self.stage}@{group}"

    @property
    def name(self) -> str:
        """What a command line calls it: ``finetune/phantom-chest/moco/seed-0/fraction-0.1``."""
        return f"{self.stage}/{self.dataset}/{self.method}/{self.folder}"

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        labels = "" if self.labels is None else f" {self.labels.id}"
        return f"{self.stage} {self.dataset} {self.method} seed {self.seed}{labels}"


def cell_fields(cell: Cell) -> dict[str, Any]:
    """A cell as the fields of a record; its label set is two of them, see `bench.protocol.label_columns`."""
    plain = {name: value for name, value in vars(cell).items() if name != "labels"}
    return plain | label_columns(cell.labels)


def cell_in(record: Mapping[str, Any]) -> Cell:
    """The cell that a record is of, by the fields of :func:`cell_fields`."""
    stage, dataset, method, seed = (record[name] for name in ("stage", "dataset", "method", "seed"))
    return Cell(stage, dataset, method, seed, labels_in(record))


def cells_of(stage: Stage, dataset: str, method: str, protocol: Protocol) -> list[Cell]:
    """The cells of one stage, data set and method, in the order in which they run."""
    return [
        Cell(stage, dataset, method, seed, labels)
        for seed in protocol.seeds
        for labels in label_sets_of(stage, protocol)
    ]


def label_sets_of(stage: Stage, protocol: Protocol) -> list[LabelSet | None]:
    """The label sets that a stage has cells for; None alone where its cells are not told apart by them."""
    return [*protocol.label_sets] if STAGES[stage].per_label_set else [None]


def all_cells(protocol: Protocol) -> Iterator[Cell]:
    """Every cell of the protocol; the report and the progress count these and never what lies on disk."""
    for stage in CELL_STAGES:
        for dataset in protocol.datasets:
            for method in protocol.methods:
                yield from cells_of(stage, dataset, method, protocol)


def cell_named(name: str, protocol: Protocol) -> Cell:
    """The cell that a command line names.

    Args:
        name: as :attr:`Cell.name`.
        protocol: to which it belongs.

    Raises:
        UserError: the protocol has no such cell; the message says which part of the name is wrong.
    """
    stage, dataset, method, *rest = [*name.strip("/").split("/"), "", "", ""]
    for kind, part, known in (
        ("stage with cells", stage, CELL_STAGES),
        ("data set of params.yaml", dataset, list(protocol.datasets)),
        ("method of params.yaml", method, list(protocol.methods)),
    ):
        if part not in known:
            raise UserError(
                f"cell {name}: “{part}” is no {kind}; there are: {', '.join(known)}."
                f"{did_you_mean(part, known)} {CELL_NAMES}"
            )
    cells = {cell.folder: cell for cell in cells_of(cast(Stage, stage), dataset, method, protocol)}
    folder = "/".join(part for part in rest if part)
    if folder not in cells:
        raise UserError(
            f"cell {name}: “{folder}” is none of {stage}; there are: {', '.join(cells)}."
            f"{did_you_mean(folder, cells)} {CELL_NAMES}"
        )
    return cells[folder]


def dvc_stages(protocol: Protocol) -> list[str]:
    """Names of all stages that DVC has for a protocol, in the order of the pipeline."""
    names = []
    for stage, spec in STAGES.items():
        if spec.runs == "once":
            names.append(stage)
        elif spec.runs == "dataset":
            names += [f"{stage}@{dataset}" for dataset in protocol.datasets]
        else:
            names += [f"{stage}@{d}-{m}" for d in protocol.datasets for m in protocol.methods]
    return names


def built_on(cell: Cell, protocol: Protocol) -> list[Cell]:
    """The cells whose files a cell reads: those of the same data set, method and seed in earlier stages."""
    return [
        earlier
        for stage in STAGES[cell.stage].builds_on
        for earlier in cells_of(stage, cell.dataset, cell.method, protocol)
        if earlier.seed == cell.seed
    ]
