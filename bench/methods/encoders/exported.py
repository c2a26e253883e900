"""A pretrained encoder of the suite as files for others: weights, and a model card as JSON."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cells.encoders import load_encoder
from bench.cells.files import METRICS_FILE, STARTING_POINT_FILE, cell_path, data_folder, read_json
from bench.cells.keys import Keys
from bench.cells.method_facts import facts_of
from bench.cells.records import CellRecord, read_record
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol, values
from imssl.datasets.prepared import Card, read_prepared
from imssl.durable import write_bytes, write_text
from imssl.encoders.export import exported_weights, how_to_load
from imssl.errors import UserError

CARD_SCHEMA = 1
LIMITS = (
    "Made to compare methods of pretraining, not for use on patients. It has seen the training images of one "
    "data set, and what these lack it does not know. Who passes it on is bound by the licence of the data."
)


@dataclass(frozen=True)
class Exported:
    """The files of an exported encoder.

    Attributes:
        weights: safetensors.
        card: JSON.
        loaded_by: libraries for which the card has the lines that load the weights; empty where none can.
    """

    weights: Path
    card: Path
    loaded_by: list[str]


def export_encoder(dataset: str, method: str, seed: int | None, folder: Path, protocol: Protocol) -> Exported:
    """Write the encoder of a finished cell of pretraining and its card.

    Args:
        dataset: id.
        method: id.
        seed: of the run; None for the first of params.yaml.
        folder: in which the two files go; it is made.
        protocol: of the run.

    Raises:
        UserError: there is no such cell, it is not finished, or not of this protocol.
    """
    cell = _cell(dataset, method, seed, protocol)
    record = _finished(cell, protocol)
    prepared = read_prepared(data_folder(dataset))
    encoder = load_encoder(cell_path(cell), protocol, prepared)
    content = exported_weights(encoder)
    name = f"{method}-{dataset}-seed-{cell.seed}"
    weights, card = folder / f"{name}.safetensors", folder / f"{name}.json"
    loading = how_to_load(encoder, protocol.encoder, weights)
    written = {
        "schema_version": CARD_SCHEMA,
        "name": name,
        "weights": weights.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "encoder": {
            **protocol.encoder.model_dump(mode="json", exclude={"weights"}),
            "channels": encoder.channels,
            "block_widths": list(encoder.block_widths),
        },
        "load": loading,
        "input": _input(prepared.card),
        "pretraining": _pretraining(cell, protocol),
        "data": _data(prepared.card),
        "provenance": {"key": record.key, **record.provenance.model_dump(mode="json")},
        "limits": LIMITS,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(weights, content)
    write_text(card, json.dumps(written, indent=1, allow_nan=False) + "\n")
    return Exported(weights, card, [library for library in loading if library != "neither"])


def _cell(dataset: str, method: str, seed: int | None, protocol: Protocol) -> Cell:
    for kind, name, known in (
        ("data set", dataset, list(protocol.datasets)),
        ("method", method, list(protocol.methods)),
    ):
        if name not in known:
            raise UserError(f"{name!r} is no {kind} of params.yaml; there are: {', '.join(known)}")
    if seed is not None and seed not in protocol.seeds:
        raise UserError(f"--seed {seed}: the seeds of params.yaml are: {', '.join(map(str, protocol.seeds))}")
    return Cell("pretrain", dataset, method, protocol.seeds[0] if seed is None else seed)


def _finished(cell: Cell, protocol: Protocol) -> CellRecord:
    record = read_record(cell_path(cell))
    if record is None:
        raise UserError(f"{cell.title} is not computed yet. Run: dvc repro {cell.dvc_stage}")
    if record.status == "failed":
        raise UserError(f"{cell.title} failed, so there is no encoder: {record.reason}")
    if record.key != Keys(protocol).key(cell):
        raise UserError(
            f"{cell.title} was computed under other settings, code or data. Run: dvc repro {cell.dvc_stage}"
        )
    return record


def _input(card: Card) -> dict[str, Any]:
    height, width, _ = card.image_shape
    return {
        "size": [height, width],
        "scaling": "pixels of 0 to 255 divided by 255, then (value - mean) / standard_deviation",
        "mean": list(card.channel_mean),
        "standard_deviation": list(card.channel_std),
    }


def _pretraining(cell: Cell, protocol: Protocol) -> dict[str, Any]:
    facts = facts_of(cell.method, protocol)
    numbers = {row["metric"]: row["value"] for row in read_json(cell_path(cell) / METRICS_FILE)}
    start = cell_path(cell) / STARTING_POINT_FILE
    return {
        "method": cell.method,
        "settings": facts.settings_on(cell.dataset),
        "optimisation": facts.optimisation,
        "length": protocol.pretrain_of(cell.dataset).words if facts.pretrains else "none",
        "augmentation": values(protocol.augmentation_of(cell.dataset)),
        "seed": cell.seed,
        "images_seen": numbers.get("images_seen"),
        "batch_norm_filled": numbers.get("batch_norm_filled"),
        "starting_point": read_json(start) if start.is_file() else "random weights, drawn from the seed",
    }


def _data(card: Card) -> dict[str, Any]:
    training = card.counts["train"]
    return {
        "name": card.name,
        "source": card.source,
        "synthetic": card.synthetic,
        "training_images": training.samples,
        "training_patients": training.patients,
        "licence": card.licence,
        "citation": card.citation,
        "url": card.url,
    }
