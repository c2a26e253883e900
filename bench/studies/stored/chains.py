"""One finished chain in its compact form, written once; and its predictions read back."""

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.cells.files import (
    HISTORY_FILE,
    LEFT_OUT_FILE,
    LEFT_OUT_PATIENTS,
    METRICS_FILE,
    VALIDATION_FILE,
    LeftOut,
    left_out_arrays,
    read_json,
)
from bench.cells.predictions import Predictions, labels_in, read_predictions
from bench.cells.records import CellRecord
from bench.protocol.cell import Cell
from bench.protocol.stage_specs import STAGES
from bench.studies.stored.files import (
    CHAIN_FILE,
    PREDICTED_SPLITS,
    Chain,
    StoredCell,
    StoredChain,
    StoredPredictions,
    chain_folder,
    file_checksum,
    write_packed,
)
from bench.studies.stored.rounding import (
    coarsest_step,
    effect_on_scores,
    kept_classes,
    rounded,
    to_integers,
    to_probabilities,
)
from imssl.datasets.prepared import Card
from imssl.durable import sync_tree
from imssl.errors import UserError
from imssl.ks import ks_distance

# Column of the files of predictions: which of the chain's models a row is of.
MODEL = "model"
# Predictions of one model by split; None where none are stored, as of probes on validation images.
BySplit = dict[str, Predictions | None]


def prediction_name(cell: Cell, block: int | None) -> str:
    """What the predictions of a cell, or of the probe of a block, are called in a study."""
    labels = "" if cell.labels is None else f"/{cell.labels.id}"
    return f"{cell.stage}{labels}" + ("" if block is None else f"/block-{block}")


def samples_file(study: Path, dataset: str) -> Path:
    """Where a study keeps what is known of validation and test images."""
    return study / "samples" / f"{dataset}.parquet"


def write_chain(
    study: Path,
    chain: Chain,
    records: Mapping[Cell, CellRecord],
    folders: Mapping[Cell, Path],
    card: Card,
    suite: str,
) -> StoredChain:
    """Write a finished chain; its folder appears whole or not at all.

    Args:
        study: folder of the study; what is known of the images lies there already.
        chain: which.
        records: of its cells, in the order of the pipeline.
        folders: in which their files lie.
        card: of the data set.
        suite: version of the suite.
    """
    models = {
        prediction_name(cell, block): read_by_split(folders[cell], file, card)
        for cell, record in records.items()
        if record.status == "done"
        for block, file in (STAGES[cell.stage].predictions or {}).items()
    }
    rounding = choose_rounding(card, models)
    folder = chain_folder(study, chain)
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    for left in folder.parent.glob(f"{folder.name}.*.partial"):  # by a process that was killed
        shutil.rmtree(left)
    partial.mkdir(parents=True)
    try:
        for split in PREDICTED_SPLITS:
            _write_predictions(partial / f"{split}.parquet", card, split, models, rounding)
        stored = StoredChain(
            suite=suite,
            cells=[_stored_cell(record, folders[cell]) for cell, record in records.items()],
            predictions=rounding,
            files={
                "samples.parquet": file_checksum(samples_file(study, chain.dataset)),
                **{
                    f"{split}.parquet": file_checksum(partial / f"{split}.parquet")
                    for split in PREDICTED_SPLITS
                },
            },
        )
        write_packed(partial / CHAIN_FILE, (stored.model_dump_json() + "\n").encode())
        sync_tree(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return stored


def read_by_split(folder: Path, test_file: str, card: Card) -> BySplit:
    """The predictions of a finished cell on the images of each split."""
    validation = folder / VALIDATION_FILE
    return {
        "test": read_predictions(folder / test_file, card),
        "val": read_predictions(validation, card) if validation.is_file() else None,
    }


def choose_rounding(card: Card, models: Mapping[str, BySplit]) -> dict[str, StoredPredictions]:
    """The coarsest rounding of every model that moves no metric by `rounding.LARGEST_EFFECT` or more.

    Models that were fine-tuned share one, as the KS distance compares two of them.

    Args:
        card: of the data set.
        models: predictions by name and split.
    """
    chosen: dict[str, StoredPredictions] = {}
    finetuned = {name: model for name, model in models.items() if name.startswith("finetune/")}
    groups = [finetuned] if finetuned else []
    groups += [{name: model} for name, model in models.items() if name not in finetuned]
    for group in groups:
        step, effect = coarsest_step(lambda step, group=group: _effect(card, group, step))  # type: ignore[misc]
        chosen |= dict.fromkeys(group, StoredPredictions(step=step, effect=effect))
    return {name: chosen[name] for name in models}


def _effect(card: Card, models: Mapping[str, BySplit], step: float) -> float:
    effects = [
        effect_on_scores(card, known.labels, known.probabilities, rounded(card, known.probabilities, step))
        for model in models.values()
        for known in model.values()
        if known is not None
    ]
    outputs = [model["test"].probabilities for model in models.values() if model["test"] is not None]
    for fewer_labels in outputs[:-1]:
        exact = ks_distance(fewer_labels, outputs[-1], card.task)
        coarse = ks_distance(rounded(card, fewer_labels, step), rounded(card, outputs[-1], step), card.task)
        effects.append(float(np.abs(exact.per_class - coarse.per_class).max()))
    return max(effects)


def _write_predictions(
    file: Path,
    card: Card,
    split: str,
    models: Mapping[str, BySplit],
    rounding: Mapping[str, StoredPredictions],
) -> None:
    """A row for each model and image, in the order of the samples, and a column of integers for each class.

    Few long columns: a column for each model would take as much for its description as for what it holds.
    """
    known = {name: model[split] for name, model in models.items()}
    integers = {
        name: to_integers(card, predictions.probabilities, rounding[name].step)
        for name, predictions in known.items()
        if predictions is not None
    }
    columns = [str(c) for c in kept_classes(card)]
    content = np.concatenate(list(integers.values())) if integers else np.empty((0, len(columns)), np.int32)
    names = np.repeat(list(integers), [len(values) for values in integers.values()])
    table = pa.table(
        {MODEL: pa.array(names, pa.string())}
        | {name: pa.array(content[:, place]) for place, name in enumerate(columns)}
    )
    pq.write_table(
        table,
        file,
        compression="zstd",
        compression_level=19,
        use_dictionary=[MODEL],
        use_byte_stream_split=columns,
        write_statistics=False,
    )


def _stored_cell(record: CellRecord, folder: Path) -> StoredCell:
    is_done, history = record.status == "done", folder / HISTORY_FILE
    left_out = folder / LEFT_OUT_FILE
    return StoredCell(
        record=json.loads(record.model_dump_json()),
        provenance=record.provenance,
        metrics=read_json(folder / METRICS_FILE) if is_done else [],
        history=history.read_text(encoding="utf-8") if is_done and history.is_file() else "",
        left_out=packed_left_out(left_out_arrays(left_out, left_out.read_bytes()))
        if is_done and left_out.is_file()
        else {},
    )


def packed_left_out(arrays: LeftOut) -> dict[str, list[str] | list[list[float | None]]]:
    """CKA without each patient as JSON, to five decimals: a patient moves it by some .0001."""
    return {
        name: list(map(str, values))
        if name == LEFT_OUT_PATIENTS
        else [[None if np.isnan(value) else round(float(value), 5) for value in row] for row in values]
        for name, values in arrays.items()
    }


def unpacked_left_out(kept: StoredCell) -> LeftOut:
    """The arrays again; empty where the chain holds none."""
    return {
        name: np.array(values, dtype=str if name == LEFT_OUT_PATIENTS else float)
        for name, values in kept.left_out.items()
    }


class ChainPredictions:
    """Reads the predictions of a stored chain, each file once.

    Args:
        study: folder of the study.
        chain: which.
        stored: its chain file.
        card: of the data set.

    Raises:
        UserError: a file is missing, or not the one that the chain file names.
    """

    def __init__(self, study: Path, chain: Chain, stored: StoredChain, card: Card) -> None:
        self._card, self._rounding = card, stored.predictions
        folder = chain_folder(study, chain)
        self._tables, self._samples = {}, read_stored_samples(study, chain.dataset, stored)
        for split in PREDICTED_SPLITS:
            file = folder / f"{split}.parquet"
            _refuse_other(file, stored.files.get(file.name))
            self._tables[split] = pq.read_table(file).to_pandas()

    def of(self, name: str, split: str = "test") -> Predictions | None:
        """Predictions of a model on the images of a split; None where there are none."""
        rows = self._tables[split][self._tables[split][MODEL] == name]
        if rows.empty:
            return None
        integers = rows[[str(c) for c in kept_classes(self._card)]].to_numpy()
        samples = self._samples[self._samples["split"] == split]
        return Predictions(
            ids=samples["id"].to_numpy(dtype=str),
            patients=samples["patient"].where(samples["patient"] != "", samples["id"]).to_numpy(dtype=str),
            labels=labels_in(samples, self._card).astype(np.int64),
            probabilities=to_probabilities(self._card, integers, self._rounding[name].step),
        )


def read_stored_samples(study: Path, dataset: str, stored: StoredChain) -> pd.DataFrame:
    """What a study knows of validation and test images.

    Raises:
        UserError: the file is missing, or not the one that the chain was packed with.
    """
    file = samples_file(study, dataset)
    _refuse_other(file, stored.files.get("samples.parquet"))
    return pq.read_table(file).to_pandas()


def _refuse_other(file: Path, checksum: str | None) -> None:
    if file_checksum(file) != checksum:
        raise UserError(f"{file} is not the file that was packed. Restore it with: git checkout {file}")
