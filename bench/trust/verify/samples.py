"""The samples behind the numbers: every test image predicted, label subsets nested and from training only."""

from itertools import pairwise

import numpy as np

from bench.cells.files import (
    FEATURES_FILE,
    SUBSET_FILE,
    VALIDATION_FILE,
    cell_path,
    data_folder,
    read_table,
)
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES
from bench.trust.verify.check import Check
from imssl.datasets.draw import compared_rows
from imssl.datasets.prepared import Prepared, read_without_images
from imssl.errors import UserError
from imssl.settings.labels import EVERYTHING, LabelSet

# Names of the checks.
PREDICTIONS, LABEL_SUBSETS = "samples of the predictions against the data", "label subsets"

SPLIT_NAMES = {"train": "training", "val": "validation"}


def check_predictions(protocol: Protocol, cells: list[Cell], has_features: bool = True) -> Check:
    """Ids, patients and labels of every predictions file against samples.csv, in order and complete.

    Args:
        protocol: of the run.
        cells: of one data set, at least one.
        has_features: whether the stored features are there too; a submission may lack them.
    """
    check = Check(PREDICTIONS)
    prepared = read_without_images(data_folder(cells[0].dataset))
    for cell in cells:
        for name, split in _prediction_files(cell):
            _compare_samples(check, cell, name, prepared, split)
        if cell.stage == "finetune" and has_features:
            _compare_feature_ids(check, cell, prepared, protocol.reuse.samples)
    return check


def check_subsets(protocol: Protocol, cells: list[Cell]) -> Check:
    """Label subsets: distinct images of their split, the smaller in the larger, the same for every method.

    Args:
        protocol: of the run.
        cells: of one data set, of all methods.
    """
    check = Check(LABEL_SUBSETS)
    drawing = [cell for cell in cells if STAGES[cell.stage].per_label_set]
    if not drawing:
        return check
    prepared = read_without_images(data_folder(drawing[0].dataset))
    for seed in protocol.seeds:
        for split in SPLIT_NAMES:
            images = set(prepared.samples["id"].iloc[prepared.indices(split)])
            # Nearest neighbours choose nothing, so they use no label of a validation image.
            using = [cell for cell in drawing if split == "train" or cell.stage != "knn"]
            _compare_subsets(check, [cell for cell in using if cell.seed == seed], split, images)
    return check


def _compare_subsets(check: Check, cells: list[Cell], split: str, images: set[str]) -> None:
    """The subsets of one split, data set and seed, of every method and evaluation."""
    subsets: dict[Cell, list[str]] = {}
    for cell in cells:
        table = read_table(cell_path(cell) / SUBSET_FILE, ("id", "split"))
        subsets[cell] = table.loc[table["split"] == split, "id"].tolist()
        strays = int((~table["split"].isin(SPLIT_NAMES)).sum())
        check.compare(f"{cell_path(cell) / SUBSET_FILE}: rows of neither split", 0, strays)
    first: dict[LabelSet, set[str]] = {}
    for cell, ids in subsets.items():
        first.setdefault(cell.labels or EVERYTHING, set(ids))
    # Shares lie in one another, and so do numbers per class; one kind need not lie in the other.
    larger = {
        smaller: next_larger
        for smaller, next_larger in pairwise(sorted(first))
        if (smaller.per_class is None) == (next_larger.per_class is None)
    }
    for cell, ids in subsets.items():
        file, labels = f"{cell_path(cell) / SUBSET_FILE}, {split}", cell.labels or EVERYTHING
        check.compare(f"{file}: images that occur twice", 0, len(ids) - len(set(ids)))
        check.compare(f"{file}: images outside {SPLIT_NAMES[split]}", 0, len(set(ids) - images))
        check.compare(f"{file}: images unlike other methods'", 0, len(first[labels] ^ set(ids)))
        if labels in larger:
            missing = len(set(ids) - first[larger[labels]])
            check.compare(f"{file}: images that the next larger subset lacks", 0, missing)


def _prediction_files(cell: Cell) -> list[tuple[str, str]]:
    """Names of the files with predictions, each with the split that it is about."""
    spec = STAGES[cell.stage]
    files = [(name, "test") for name in (spec.predictions or {}).values()]
    return files + ([(VALIDATION_FILE, "val")] if spec.per_label_set else [])


def _compare_samples(check: Check, cell: Cell, name: str, prepared: Prepared, split: str) -> None:
    file = cell_path(cell) / name
    try:
        table = read_table(file, ("id", "patient"))
        samples = prepared.samples.iloc[prepared.indices(split)]
        columns = ["id", "patient", *prepared.card.label_columns]
        written = table[columns].fillna("").astype(str).to_numpy()
        expected = samples[columns].astype(str).to_numpy()
    except (UserError, KeyError) as error:
        check.compare(file, "a table of predictions", str(error).splitlines()[0])
        return
    check.compare(f"{file}: rows", len(expected), len(written))
    if len(expected) == len(written):
        wrong = int((expected != written).any(axis=1).sum())
        check.compare(f"{file}: rows of other samples or labels", 0, wrong)


def _compare_feature_ids(check: Check, cell: Cell, prepared: Prepared, samples: int) -> None:
    file = cell_path(cell) / FEATURES_FILE
    expected = prepared.samples["id"].iloc[compared_rows(prepared, samples)].tolist()
    try:
        with np.load(file, allow_pickle=False) as stored:
            check.compare(f"{file}: ids", expected, stored["ids"].tolist())
    except (OSError, ValueError, KeyError) as error:
        check.compare(file, "features", str(error))
