"""What the stages of the pipeline are, in one table; all that the suite knows of a stage is read off it.

What a stage computes stands in bench/stages/<name>.py. dvc.yaml says for DVC what is said here; a test holds
the two together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.protocol.protocol import Protocol, values
from imssl.device_kind import device_kind
from imssl.settings.datasets import TRAINING_KEYS
from imssl.settings.encoder import BLOCKS

Stage = Literal["pretrain", "finetune", "frozen", "knn", "probe", "reuse", "ks"]

PREDICTIONS_FILE = "predictions.csv"
# Forward passes over the training images that filling batch norm takes: 3.1 to 3.4 were measured. Where the
# maps between two blocks have no room in memory it takes ten to thirty, still little beside training.
FILLING_PASSES = 3.25


@dataclass(frozen=True)
class CellSize:
    """What decides how much a cell has to do.

    Attributes:
        protocol: that it belongs to.
        dataset: its id.
        images: of its data set, by split.
        labelled: training images whose labels it may use.
        labelled_validation: validation images whose labels may choose its epoch or strength.
        pretrains: whether its method trains at all.
        takes_clean_pass: whether its method looks at all training images as they are after each epoch.
        fills_batch_norm: whether batch norm is filled from the training images after pretraining.
    """

    protocol: Protocol
    dataset: str
    images: Mapping[str, int]
    labelled: int
    labelled_validation: int
    pretrains: bool
    takes_clean_pass: bool
    fills_batch_norm: bool


@dataclass(frozen=True)
class Work:
    """What a cell does and leaves behind, in the units whose seconds `bench plan` measures.

    Attributes:
        pretraining_images: images that go through a training step of the method.
        finetuning_steps: steps of fine-tuning, whatever their size.
        finetuning_images: images in these steps.
        encoded_images: images that go through an encoder without training.
        last_block_fits: labelled images that linear classifiers of the last block are fitted to.
        all_block_fits: the same for those of every block.
        comparisons: label sets whose features are compared by CKA.
        prediction_rows: rows of predictions that are stored.
        feature_rows: images whose features before and after fine-tuning are stored.
        kept_features: images whose features of all blocks are kept for other cells, outside the results.
        encoders: that are stored.
    """

    pretraining_images: float = 0
    finetuning_steps: float = 0
    finetuning_images: float = 0
    encoded_images: float = 0
    last_block_fits: float = 0
    all_block_fits: float = 0
    comparisons: float = 0
    prediction_rows: int = 0
    feature_rows: int = 0
    kept_features: int = 0
    encoders: int = 0


@dataclass(frozen=True)
class StageSpec:
    """One stage of the pipeline.

    Attributes:
        about: what it does, in a line.
        runs: what DVC runs it for: once, for each data set, or for each method on each data set.
        builds_on: stages whose results it reads.
        has_cells: whether it consists of cells, one per method and seed, that are kept on their own.
        per_label_set: whether it has a cell for each share of the labels, or number per class, as well.
        settings: what of the protocol decides the numbers of a cell on a data set, besides the cells that
            it builds on.
        reads_images: whether a cell reads the prepared images.
        on_device: whether a cell computes with torch, on the protocol's device.
        reads_features: whether a cell reads the features of the frozen encoder, which the first of the cells
            that do so extracts (bench.cells.encoders).
        predictions: files with predictions on the test images, by block of the encoder; None: of the whole.
        work: what a cell has to do.
    """

    about: str
    runs: Literal["once", "dataset", "method"]
    builds_on: tuple[Stage, ...] = ()
    has_cells: bool = True
    per_label_set: bool = False
    settings: Callable[[Protocol, str], dict[str, Any]] = lambda protocol, dataset: {}
    reads_images: bool = False
    on_device: bool = False
    reads_features: bool = False
    predictions: Mapping[int | None, str] | None = None
    work: Callable[[CellSize], Work] = lambda size: Work()

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows the stage's name on its command line."""
        return {"once": (), "dataset": ("dataset",), "method": ("dataset", "method")}[self.runs]


def _data_settings(protocol: Protocol, dataset: str) -> dict[str, Any]:
    """What is prepared; how it is trained on is no reason to prepare it again."""
    return protocol.datasets[dataset].model_dump(mode="json", exclude=set(TRAINING_KEYS))


def _pretrain_settings(protocol: Protocol, dataset: str) -> dict[str, Any]:
    # A method's row may have values of the optimiser, so they are recorded with the method.
    length_and_batch = protocol.pretrain_of(dataset).model_dump(mode="json", exclude={"optimisation"})
    return {
        # The weights that a row starts from are recorded with the row, by their content.
        "encoder": protocol.encoder.model_dump(mode="json", exclude={"weights"}),
        "pretrain": length_and_batch,
        "augmentation": values(protocol.augmentation_of(dataset)),
        # A GPU rounds otherwise than a CPU, so `auto` is recorded as what it is here.
        "hardware": values(protocol.hardware) | {"device": device_kind(protocol.hardware)},
    }


def _finetune_settings(protocol: Protocol, dataset: str) -> dict[str, Any]:
    return {
        "finetune": values(protocol.finetune),
        "augmentation": values(protocol.finetune_augmentation_of(dataset)),
        "stored_features": protocol.reuse.samples,
        "validation_labels": protocol.validation_labels,
    }


def _pretraining(size: CellSize) -> Work:
    # Imported here: a stage that trains nothing must not load what trains.
    from imssl.monitor import LARGEST_BANK, MOST_QUERIES

    images, settings = size.images, size.protocol.pretrain_of(size.dataset)
    monitored = min(images["train"], LARGEST_BANK) + min(images["val"], MOST_QUERIES)
    filling = FILLING_PASSES * images["train"] if size.fills_batch_norm else 0.0
    if not size.pretrains:
        return Work(encoded_images=monitored + filling, encoders=1)
    # A set of a few images may be shorter than a batch, before anybody has looked at it.
    images_at_least = max(images["train"], settings.batch_size)
    steps = settings.steps_on(images_at_least)
    epochs = -(-steps // settings.steps_per_epoch(images_at_least))
    clean_passes = epochs * images["train"] if size.takes_clean_pass else 0
    return Work(
        pretraining_images=steps * settings.batch_size,
        encoded_images=-(-epochs // settings.monitor_every) * monitored + filling + clean_passes,
        encoders=1,
    )


def _finetuning(size: CellSize) -> Work:
    images, settings = size.images, size.protocol.finetune
    batches = -(-size.labelled // settings.batch_size)
    steps = max(settings.epochs * batches, settings.min_steps)
    predicted = settings.evaluations * size.labelled_validation + images["val"] + images["test"]
    compared = min(size.protocol.reuse.samples, images["test"])
    return Work(
        finetuning_steps=steps,
        finetuning_images=steps * size.labelled / batches,
        encoded_images=predicted + 2 * compared,
        prediction_rows=images["val"] + images["test"],
        feature_rows=size.protocol.reuse.samples,
    )


def _part_of_a_pass(size: CellSize) -> float:
    """Images that each of the cells would encode that read an encoder's features, if they took turns."""
    label_sets = len(size.protocol.label_sets)
    cells = sum(label_sets if spec.per_label_set else 1 for spec in STAGES.values() if spec.reads_features)
    return sum(size.images.values()) / cells


def _frozen_fit(size: CellSize) -> Work:
    images = size.images
    return Work(
        encoded_images=_part_of_a_pass(size),
        last_block_fits=size.labelled,
        prediction_rows=images["val"] + images["test"],
    )


def _nearest_neighbours(size: CellSize) -> Work:
    images = size.images
    return Work(encoded_images=_part_of_a_pass(size), prediction_rows=images["val"] + images["test"])


def _probing(size: CellSize) -> Work:
    images = size.images
    return Work(
        encoded_images=_part_of_a_pass(size),
        all_block_fits=images["train"],
        prediction_rows=BLOCKS * images["test"],
        kept_features=sum(images.values()),
    )


STAGES: dict[str, StageSpec] = {
    "inputs": StageSpec(
        about="code and settings behind each stage, method and data set", runs="once", has_cells=False
    ),
    "data": StageSpec(
        about="a source in its owner's layout becomes images.npy, samples.csv and card.json",
        runs="dataset",
        has_cells=False,
        settings=_data_settings,
    ),
    "pretrain": StageSpec(
        about="one method on one data set, an encoder per seed",
        runs="method",
        settings=_pretrain_settings,
        reads_images=True,
        on_device=True,
        work=_pretraining,
    ),
    "finetune": StageSpec(
        about="all weights of the encoder, on every label set",
        runs="method",
        builds_on=("pretrain",),
        per_label_set=True,
        settings=_finetune_settings,
        reads_images=True,
        on_device=True,
        predictions={None: PREDICTIONS_FILE},
        work=_finetuning,
    ),
    "frozen": StageSpec(
        about="a linear classifier on the frozen encoder's last block, on every label set",
        runs="dataset",
        builds_on=("pretrain",),
        per_label_set=True,
        settings=lambda protocol, dataset: {
            "linear": values(protocol.linear),
            "validation_labels": protocol.validation_labels,
        },
        reads_images=True,
        on_device=True,
        reads_features=True,
        predictions={None: PREDICTIONS_FILE},
        work=_frozen_fit,
    ),
    "knn": StageSpec(
        about="nearest neighbours of the frozen encoder's last block, on every label set",
        runs="dataset",
        builds_on=("pretrain",),
        per_label_set=True,
        settings=lambda protocol, dataset: {"knn": values(protocol.knn)},
        reads_images=True,
        on_device=True,
        reads_features=True,
        predictions={None: PREDICTIONS_FILE},
        work=_nearest_neighbours,
    ),
    "probe": StageSpec(
        about="a linear classifier on each block of the frozen encoder, on all labels",
        runs="dataset",
        builds_on=("pretrain",),
        settings=lambda protocol, dataset: {"probe": values(protocol.probe)},
        reads_images=True,
        on_device=True,
        reads_features=True,
        predictions={block: f"predictions_block_{block}.csv" for block in range(1, BLOCKS + 1)},
        work=_probing,
    ),
    "reuse": StageSpec(
        about="CKA between the features before and after fine-tuning",
        runs="dataset",
        builds_on=("finetune",),
        settings=lambda protocol, dataset: {"reuse": values(protocol.reuse)},
        work=lambda size: Work(comparisons=len(size.protocol.label_sets)),
    ),
    "ks": StageSpec(
        about="KS distance of the outputs with few labels to those at all labels",
        runs="dataset",
        builds_on=("finetune",),
    ),
    "report": StageSpec(about="statistics over all cells, and the leaderboard", runs="once", has_cells=False),
}

# In the order of the pipeline.
CELL_STAGES: tuple[Stage, ...] = tuple(name for name, spec in STAGES.items() if spec.has_cells)  # type: ignore[misc]
