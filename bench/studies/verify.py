"""Recompute everything of a study from its stored predictions; nothing is trained and no image is read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.analysis.document import ResultsDocument
from bench.cells.records import cell_of
from bench.protocol.cell import Cell
from bench.protocol.label_columns import labels_in
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES
from bench.report.view import view_of_results
from bench.studies.reports import document_of, table_bytes
from bench.studies.stored.chains import ChainPredictions, prediction_name
from bench.studies.stored.files import (
    DOCUMENT,
    RESULTS_TABLE,
    Chain,
    StoredCell,
    chain_folder,
    chains_of,
    read_chain,
    read_packed,
    study_folder,
)
from bench.studies.stored.results import in_order, read_study_results, study_cards, study_protocol
from bench.studies.stored.rounding import LARGEST_EFFECT
from bench.trust.verify.check import Check, OnProgress
from bench.trust.verify.recomputed import Values, ks_distances, scores
from imssl.datasets.prepared import Card
from imssl.errors import UserError

# Rounding of a number on its way through JSON and between processors.
CLOSE = 1e-9


def verify_study(name: str, on_progress: OnProgress) -> list[Check]:
    """Check a study.

    Metrics are recomputed from the stored predictions by formulas of their own, and may differ from those
    that were computed before rounding by less than `LARGEST_EFFECT`. Tables and statistics are made again and
    must be those that are published.

    Args:
        name: of the study.
        on_progress: called with how far the work is.

    Raises:
        UserError: there is no such study.
    """
    study = study_folder(name)
    protocol = study_protocol(study)
    cards = study_cards(study, protocol)
    files, metrics = Check("files of the study"), Check("metrics against the stored predictions")
    chains, held = chains_of(protocol), 0
    for done, (chain, cells) in enumerate(chains.items(), start=1):
        try:
            held += _check_chain(study, chain, cells, cards[chain.dataset], protocol, files, metrics)
        except UserError as error:
            files.compare(chain_folder(study, chain), "as it was packed", str(error).splitlines()[0])
        on_progress("chains", done, len(chains))
    if held < len(chains):
        files.notes.append(f"{len(chains) - held} of {len(chains)} chains are not in the study")
    metrics.notes.append(
        f"predictions are rounded, so metrics may differ by less than {LARGEST_EFFECT:g}; CKA rests on "
        "features that a study does not hold, and was not recomputed"
    )
    if files.disagreements:
        files.notes.append("statistics were not recomputed, as files are not those that were packed")
        return [files, metrics]
    return [files, metrics, *_check_derived(study, protocol, on_progress)]


def _check_chain(
    study: Path, chain: Chain, cells: list[Cell], card: Card, protocol: Protocol, files: Check, metrics: Check
) -> int:
    """Check one chain; the number of chains that there were, 0 or 1."""
    stored = read_chain(study, chain)
    if stored is None:
        return 0
    predictions = ChainPredictions(study, chain, stored, card)
    by_cell = dict(zip(cells, in_order(stored, chain, cells), strict=True))
    for cell, kept in by_cell.items():
        record = kept.cell_record()
        files.compare(cell.title, cell.title, cell_of(record).title)
        if record.status == "done":
            _check_metrics(cell, kept, predictions, card, metrics)
    for cell, kept in by_cell.items():
        if cell.stage == "ks" and kept.record["status"] == "done":
            _check_ks(cell, kept, predictions, card, protocol, metrics)
    return 1


def _check_metrics(
    cell: Cell, kept: StoredCell, predictions: ChainPredictions, card: Card, check: Check
) -> None:
    for block in STAGES[cell.stage].predictions or {}:
        known = predictions.of(prediction_name(cell, block))
        if known is None:
            check.compare(f"{cell.title} block {block}", "predictions", "none")
            continue
        recomputed = scores(card.task, known.labels, known.probabilities, card.classes)
        rows = [row for row in kept.metrics if row.get("block") == block]
        _compare(cell.title, recomputed, rows, check)


def _check_ks(
    cell: Cell, kept: StoredCell, predictions: ChainPredictions, card: Card, protocol: Protocol, check: Check
) -> None:
    *smaller, everything = protocol.label_sets
    finetuned = {
        labels: predictions.of(
            prediction_name(Cell("finetune", cell.dataset, cell.method, cell.seed, labels), None)
        )
        for labels in protocol.label_sets
    }
    reference = finetuned[everything]
    for labels in smaller:
        outputs = finetuned[labels]
        if outputs is None or reference is None:
            continue
        recomputed = ks_distances(outputs.probabilities, reference.probabilities, card.task, card.classes)
        rows = [row for row in kept.metrics if labels_in(row) == labels]
        _compare(f"{cell.title} {labels.id}", recomputed, rows, check)


def _compare(where: str, recomputed: Values, rows: list[dict[str, Any]], check: Check) -> None:
    written = {(row.get("class", ""), row["metric"]): row["value"] for row in rows}
    for (label, metric), value in recomputed.items():
        place = " ".join(part for part in (where, label, metric) if part)
        if (label, metric) not in written:
            check.compare(place, value, "no such row")
            continue
        stored = written[label, metric]
        within = value is not None and stored is not None and abs(value - stored) < LARGEST_EFFECT + CLOSE
        check.compare_numbers(place, value, value if within else stored)


def _check_derived(study: Path, protocol: Protocol, on_progress: OnProgress) -> list[Check]:
    table, statistics = Check(f"rows of {RESULTS_TABLE}"), Check(f"statistics of {DOCUMENT}")
    absent = [name for name in (RESULTS_TABLE, DOCUMENT) if not (study / name).is_file()]
    if absent:
        table.notes.append(f"{absent[0]} is not there yet; write it with: bench study pack {study.name}")
        return [table, statistics]
    on_progress("statistics", 0, 1)
    view = view_of_results(protocol, read_study_results(study, protocol))
    ours, theirs = (
        content.decode().splitlines() for content in (table_bytes(view), read_packed(study / RESULTS_TABLE))
    )
    for line, (mine, written) in enumerate(zip(ours, theirs, strict=False), start=1):
        table.compare(f"line {line}", mine, written)
    table.compare("lines", len(ours), len(theirs))
    stored = ResultsDocument.model_validate_json(read_packed(study / DOCUMENT))
    for place, mine, written in _leaves(_plain(document_of(view)), _plain(stored), ""):
        if isinstance(mine, float) and isinstance(written, float):
            statistics.compare_numbers(place, mine, written)
        else:
            statistics.compare(place, mine, written)
    on_progress("statistics", 1, 1)
    return [table, statistics]


def _plain(document: ResultsDocument) -> Any:
    return json.loads(document.model_dump_json(by_alias=True))


def _leaves(ours: Any, theirs: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """The values of two documents, side by side."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for key in ours:
            yield from _leaves(ours[key], theirs[key], f"{place} {key}".strip())
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (mine, written) in enumerate(zip(ours, theirs, strict=True)):
            yield from _leaves(mine, written, f"{place} {index}")
    else:
        yield place, ours, theirs
