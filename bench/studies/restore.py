"""Bring the chains of a study back into the store, so that another machine goes on where one stopped.

A study holds predictions, metrics and curves, and neither encoders nor features. A cell that is brought back
counts as finished; its metrics are to the digit those that were computed, its predictions are rounded.
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bench.cells import store
from bench.cells.files import (
    HISTORY_FILE,
    INPUTS,
    LEFT_OUT_FILE,
    METRICS_FILE,
    RESTORED_FILE,
    VALIDATION_FILE,
    data_folder,
    read_json,
    write_arrays,
    write_json,
    write_table,
)
from bench.cells.keys import Keys
from bench.cells.predictions import Predictions, predictions_table
from bench.cells.records import CellRecord, write_record
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES
from bench.sharing.differences import Differences
from bench.studies.stored.chains import ChainPredictions, prediction_name, unpacked_left_out
from bench.studies.stored.files import (
    INPUTS_FILE,
    Chain,
    StoredCell,
    chains_of,
    read_chain,
    read_packed,
    study_folder,
)
from bench.studies.stored.results import study_protocol
from imssl.datasets.prepared import CARD_FILE, Card, read_card
from imssl.durable import write_text


@dataclass
class Restored:
    """What has come of bringing a study back.

    Attributes:
        chains: brought back, all or some of their cells.
        cells: how many were brought back.
        had: cells that were finished here before.
        refused: chains whose keys are others here, by the reason.
        elsewhere: chains of the study that params.yaml here does not name.
    """

    chains: list[Chain] = field(default_factory=list)
    cells: int = 0
    had: int = 0
    refused: dict[str, list[Chain]] = field(default_factory=dict)
    elsewhere: list[Chain] = field(default_factory=list)


def restore(name: str, protocol: Protocol) -> Restored:
    """Bring finished chains of a study into the store, where their keys are those that params.yaml gives.

    Args:
        name: of the study.
        protocol: of this checkout, whose data sets are prepared.

    Raises:
        UserError: there is no such study, it is damaged, or a data set is not prepared.
    """
    study = study_folder(name)
    restored, keys, here = Restored(), Keys(protocol), chains_of(protocol)
    stored_chains = chains_of(study_protocol(study))
    restored.elsewhere = [
        chain for chain in stored_chains if chain not in here and read_chain(study, chain) is not None
    ]
    with tempfile.TemporaryDirectory(prefix="bench-study-") as folder:
        differences = Differences(protocol, _as_checkout(study, Path(folder)))
        for chain, cells in here.items():
            if chain in stored_chains:
                _restore_chain(study, chain, cells, keys, differences, restored)
    return restored


def _restore_chain(
    study: Path, chain: Chain, cells: list[Cell], keys: Keys, differences: Differences, restored: Restored
) -> None:
    stored = read_chain(study, chain)
    if stored is None:
        return
    by_key = {kept.record["key"]: kept for kept in stored.cells}
    fitting = [cell for cell in cells if keys.key(cell) in by_key]
    if not fitting:
        restored.refused.setdefault(differences.of(cells[0]), []).append(chain)
        return
    card = read_card(data_folder(chain.dataset))
    files = ChainPredictions(study, chain, stored, card)
    missing = [cell for cell in fitting if store.finished(cell, keys.key(cell)) is None]
    restored.had += len(fitting) - len(missing)
    for cell in missing:
        _restore_cell(study.name, cell, by_key[keys.key(cell)], files, card)
    if missing:
        restored.chains.append(chain)
        restored.cells += len(missing)


def _restore_cell(study: str, cell: Cell, kept: StoredCell, files: ChainPredictions, card: Card) -> None:
    """Put a cell into the store, with a record of the files that it has now."""
    record = kept.cell_record()
    with store.writing(cell, record.key) as folder:
        if record.status == "done":
            write_json(folder / METRICS_FILE, kept.metrics)
            if kept.history:
                write_text(folder / HISTORY_FILE, kept.history)
            if kept.left_out:
                write_arrays(folder / LEFT_OUT_FILE, unpacked_left_out(kept))
            for block, file in (STAGES[cell.stage].predictions or {}).items():
                _write_predictions(folder / file, files.of(prediction_name(cell, block)), card)
                if block is None:
                    validation = files.of(prediction_name(cell, None), "val")
                    _write_predictions(folder / VALIDATION_FILE, validation, card)
        # What it was computed as: the SHA-256 of every file, of those too that are not here.
        write_json(folder / RESTORED_FILE, {"study": study, "computed": record.files})
        now = record.model_copy(update={"files": store.file_checksums(folder)})
        write_record(folder, CellRecord.model_validate(now.model_dump() | {"provenance": record.provenance}))
        store.put_in_place(folder, cell, record.key)


def _write_predictions(file: Path, known: Predictions | None, card: Card) -> None:
    if known is None:
        return
    samples = pd.DataFrame({"id": known.ids, "patient": known.patients})
    samples[card.label_columns] = known.labels if known.labels.ndim == 2 else known.labels[:, None]
    write_table(file, predictions_table(samples, card, known.probabilities))


def _as_checkout(study: Path, folder: Path) -> Path:
    """The study's inputs and cards laid out as a checkout has them."""
    for name, content in json.loads(read_packed(study / INPUTS_FILE)).items():
        write_json(folder / INPUTS / f"{name}.json", content)
    for file in (study / "cards").glob("*.json"):
        write_json(folder / data_folder(file.stem) / CARD_FILE, read_json(file))
    return folder
