"""A published study as `Results`, so that everything that is made from a run is made from it as well."""

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from bench.cells.files import LeftOut
from bench.cells.method_facts import reference_methods
from bench.cells.predictions import Predictions
from bench.cells.scores import number_rows
from bench.protocol.cell import Cell, all_cells
from bench.protocol.label_columns import labels_in
from bench.protocol.protocol import Protocol, read_protocol
from bench.protocol.stage_specs import STAGES
from bench.studies.stored.chains import (
    ChainPredictions,
    prediction_name,
    read_stored_samples,
    unpacked_left_out,
)
from bench.studies.stored.files import Chain, StoredCell, StoredChain, chains_of, read_chain
from bench.summary.read import CellState, Predicted, Results
from bench.summary.tidy import TidyRow, checked_rows, tidy_table
from imssl.datasets.prepared import Card
from imssl.errors import UserError
from imssl.metrics import metric_value

# Told of each chain that is read: how many are, and of how many.
OnChain = Callable[[int, int], None]


def study_protocol(study: Path) -> Protocol:
    """The protocol of a study."""
    return read_protocol(study / "params.yaml")


def study_cards(study: Path, protocol: Protocol) -> dict[str, Card]:
    """The data cards of a study.

    Raises:
        UserError: one is missing or of another version.
    """
    cards = {}
    for dataset in protocol.datasets:
        file = study / "cards" / f"{dataset}.json"
        try:
            cards[dataset] = Card.model_validate_json(file.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read ({error}). Restore it with git.") from None
    return cards


def read_study_results(study: Path, protocol: Protocol, on_chain: OnChain = lambda *_: None) -> Results:
    """Everything that a study holds; a chain that it does not hold is a hole.

    Args:
        study: its folder.
        protocol: of the study.
        on_chain: called with how far the reading is.

    Raises:
        UserError: a file is damaged.
    """
    cards, references = study_cards(study, protocol), reference_methods(protocol)
    states: dict[Cell, CellState] = {}
    rows: dict[Cell, list[TidyRow]] = {}
    predictions: dict[Predicted, Predictions] = {}
    histories: dict[Cell, pd.DataFrame] = {}
    validation: dict[Cell, float] = {}
    attributes: dict[str, pd.DataFrame] = {}
    left_out: dict[Cell, LeftOut] = {}
    chains = chains_of(protocol)
    for done, (chain, cells) in enumerate(chains.items(), start=1):
        on_chain(done, len(chains))
        stored, card = read_chain(study, chain), cards[chain.dataset]
        if stored is None:
            states |= dict.fromkeys(cells, CellState("missing", "not computed yet"))
            continue
        files = ChainPredictions(study, chain, stored, card)
        if card.attributes and chain.dataset not in attributes:
            samples = read_stored_samples(study, chain.dataset, stored)
            attributes[chain.dataset] = samples.set_index("id")[card.attributes].astype(str)
        for cell, kept in zip(cells, in_order(stored, chain, cells), strict=True):
            record = kept.cell_record()
            states[cell] = CellState(record.status, record.reason or "", record)
            if record.status == "failed":
                continue
            rows[cell] = checked_rows(kept.metrics) + checked_rows(number_rows(kept.provenance.costs))
            for block in STAGES[cell.stage].predictions or {}:
                known = files.of(prediction_name(cell, block))
                if known is not None:
                    predictions[cell, block] = known
            if kept.left_out:
                left_out[cell] = unpacked_left_out(kept)
            if cell.stage == "pretrain" and kept.history:
                histories[cell] = pd.read_csv(io.StringIO(kept.history))
            if cell.method in references:
                validation |= _validation(cell, files, card)
    ordered = {cell: states[cell] for cell in all_cells(protocol)}
    table = tidy_table(rows, {cell: state.status for cell, state in ordered.items()})
    return Results(cards, {}, ordered, table, predictions, histories, validation, attributes, left_out)


def in_order(stored: StoredChain, chain: Chain, cells: list[Cell]) -> list[StoredCell]:
    """The stored cells in the order of the protocol's.

    Raises:
        UserError: they are not those that the protocol asks for.
    """
    by_place = {(kept.record["stage"], _labels(kept)): kept for kept in stored.cells}
    places = [(cell.stage, None if cell.labels is None else cell.labels.id) for cell in cells]
    if set(by_place) != set(places):
        raise UserError(
            f"the chain {chain.title} of the study has other cells than its params.yaml asks for; its label "
            "sets were changed after it was packed"
        )
    return [by_place[place] for place in places]


def _labels(kept: StoredCell) -> str | None:
    labels = labels_in(kept.record)
    return None if labels is None else labels.id


def _validation(cell: Cell, files: ChainPredictions, card: Card) -> dict[Cell, float]:
    if STAGES[cell.stage].predictions is None or cell.stage == "probe":
        return {}
    known = files.of(prediction_name(cell, None), "val")
    if known is None:
        return {}
    value = metric_value(card.primary_metric, card.task, known.labels, known.probabilities)
    return {} if value is None else {cell: value}
