"""Every number of reports/results.csv and metrics.json against what the stored predictions give."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.cells.files import (
    FEATURES_FILE,
    HISTORY_FILE,
    SUBSET_FILE,
    cell_path,
    data_folder,
    read_json,
    read_table,
)
from bench.cells.method_facts import facts_of
from bench.cells.predictions import read_predictions
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import PREDICTIONS_FILE, STAGES
from bench.report.layout import BY_FRACTION
from bench.report.leaderboard import METRICS, RESULTS_TABLE
from bench.trust.verify.check import Check
from bench.trust.verify.recomputed import Values, cka_interval_values, cka_values, ks_distances, scores
from imssl.cka import KERNELS
from imssl.datasets.prepared import Card, read_card
from imssl.errors import UserError
from imssl.seeds import numpy_generator
from imssl.settings.encoder import BLOCKS

# Columns of results.csv that tell its rows apart.
PLACE = ("dataset", "method", "seed", "evaluation", "fraction", "block", "class", "metric")


@dataclass(frozen=True)
class Group:
    """Values of a cell that share a label fraction and a block.

    Attributes:
        fraction: of the labels; None where the evaluation has none.
        block: of the encoder; None where the whole encoder is meant.
        values: recomputed.
    """

    fraction: float | None
    block: int | None
    values: Values


def check_numbers(protocol: Protocol, cells: list[Cell]) -> list[Check]:
    """Recompute the numbers of finished cells and compare the two tables with them.

    Args:
        protocol: of the run.
        cells: those that are done.
    """
    results, short = Check(f"numbers of {RESULTS_TABLE}"), Check(f"numbers of {METRICS}")
    cards = {cell.dataset: read_card(data_folder(cell.dataset)) for cell in cells}
    recomputed: dict[tuple[Any, ...], float | None] = {}
    for cell in cells:
        try:
            groups = list(_recomputed(cell, protocol, cards[cell.dataset]))
        except (UserError, OSError, ValueError, KeyError) as error:
            results.compare(cell_path(cell), "files to recompute from", str(error).splitlines()[0])
            continue
        for group in groups:
            for (label, metric), value in group.values.items():
                recomputed[_place(cell, group, label, metric)] = value
    _compare_table(results, recomputed)
    _compare_short(short, protocol, recomputed, cards)
    return [results, short]


def _place(cell: Cell, group: Group, label: str, metric: str) -> tuple[Any, ...]:
    fraction = None if group.fraction is None else float(group.fraction)
    return (cell.dataset, cell.method, cell.seed, cell.stage, fraction, group.block, label, metric)


def _recomputed(cell: Cell, protocol: Protocol, card: Card) -> Iterator[Group]:
    if cell.stage == "reuse":
        yield from _reused(cell, protocol)
    elif cell.stage == "ks":
        *smaller, everything = [_finetune_cell(cell, fraction) for fraction in protocol.label_fractions]
        reference = read_predictions(cell_path(everything) / PREDICTIONS_FILE, card).probabilities
        for finetuned in smaller:
            outputs = read_predictions(cell_path(finetuned) / PREDICTIONS_FILE, card).probabilities
            yield Group(finetuned.fraction, None, ks_distances(outputs, reference, card.task, card.classes))
    else:
        for block, file in (STAGES[cell.stage].predictions or {}).items():
            stored = read_predictions(cell_path(cell) / file, card)
            values = scores(card.task, stored.labels, stored.probabilities, card.classes)
            yield Group(cell.fraction, block, values | _choices(cell))


def _choices(cell: Cell) -> Values:
    """What can be counted again: the labelled images, and the step that was best on validation images."""
    values: Values = {}
    if STAGES[cell.stage].per_fraction:
        splits = read_table(cell_path(cell) / SUBSET_FILE, ("id", "split"))["split"]
        images = read_card(data_folder(cell.dataset)).counts["train"].samples
        labelled = float((splits == "train").sum())
        values["", "labelled_images"] = labelled
        values["", "labelled_share"] = labelled / images
        values["", "labelled_validation_images"] = float((splits == "val").sum())
    if cell.stage == "finetune":
        history = read_table(cell_path(cell) / HISTORY_FILE)
        metric = history["validation_metric"].fillna(-np.inf)
        best = history[metric == metric.max()].sort_values("validation_loss", kind="stable").iloc[0]
        values["", "best_step"] = float(best["step"])
    return values


def _reused(cell: Cell, protocol: Protocol) -> Iterator[Group]:
    settings = protocol.reuse
    if not facts_of(cell.method, protocol).has_reuse:
        return
    for fraction in protocol.label_fractions:
        file = cell_path(_finetune_cell(cell, fraction)) / FEATURES_FILE
        with np.load(file, allow_pickle=False) as stored:
            for block in range(1, BLOCKS + 1):
                before, after = stored[f"before_{block}"], stored[f"after_{block}"]
                draw = numpy_generator(cell.seed, "permutations", block)
                orders = [draw.permutation(len(before)) for _ in range(settings.permutations)]
                values: Values = {}
                for kernel in KERNELS:
                    values |= cka_values(before, after, kernel, settings.bandwidth, orders)
                    values |= cka_interval_values(
                        before, after, stored["patients"], kernel, settings.bandwidth
                    )
                yield Group(fraction, block, values)


def _finetune_cell(cell: Cell, fraction: float) -> Cell:
    return Cell("finetune", cell.dataset, cell.method, cell.seed, fraction)


def _compare_table(check: Check, recomputed: dict[tuple[Any, ...], float | None]) -> None:
    table = read_table(RESULTS_TABLE)
    missing = [name for name in (*PLACE, "value", "status") if name not in table.columns]
    if missing:
        raise UserError(f"{RESULTS_TABLE} lacks the columns {', '.join(missing)}. Run: bench report")
    written: dict[tuple[Any, ...], float | None] = {}
    for row in table[table["status"] == "done"].to_dict("records"):
        place = tuple(_plain(row[name], name) for name in PLACE)
        written[place] = None if pd.isna(row["value"]) else float(row["value"])
    for place, value in recomputed.items():
        if place in written:
            check.compare_numbers(_words(place), value, written[place])
        else:
            check.compare(_words(place), value, "no such row")
    rest = Counter(str(place[-1]) for place in written.keys() - recomputed.keys())
    if rest:
        names = ", ".join(f"{name} ({count})" for name, count in sorted(rest.items()))
        check.notes.append(f"measured or chosen in training, so compared with the cells only: {names}")


def _plain(value: Any, column: str) -> Any:
    if pd.isna(value):
        return "" if column in ("class", "metric") else None
    if column in ("seed", "block"):
        return int(value)
    return float(value) if column == "fraction" else str(value)


def _compare_short(
    check: Check, protocol: Protocol, recomputed: dict[tuple[Any, ...], float | None], cards: dict[str, Card]
) -> None:
    short = read_json(METRICS)
    for dataset, card in cards.items():
        for method in protocol.methods:
            for evaluation, fraction, block, words in _short_places(protocol):
                metric = card.primary_metric
                values = [
                    recomputed.get((dataset, method, seed, evaluation, fraction, block, "", metric))
                    for seed in protocol.seeds
                ]
                defined = [value for value in values if value is not None]
                mean = float(np.mean(defined)) if len(defined) == len(values) else None
                written_mean = short.get(dataset, {}).get(method, {}).get(words)
                # The file holds six digits.
                off = mean is None or written_mean is None or abs(mean - written_mean) > 5.1e-7
                where = f"{dataset} {method} {words}"
                check.compare(where, mean if off else written_mean, written_mean)


def _short_places(protocol: Protocol) -> Iterator[tuple[str, float | None, int | None, str]]:
    for evaluation in BY_FRACTION:
        for fraction in protocol.label_fractions:
            yield evaluation, fraction, None, f"{evaluation} {fraction:g}"
    for block in range(1, BLOCKS + 1):
        yield "probe", None, block, f"probe block {block}"


def _words(place: tuple[Any, ...]) -> str:
    dataset, method, seed, evaluation, fraction, block, label, metric = place
    parts = [dataset, method, f"seed {seed}", evaluation]
    parts += [] if fraction is None else [f"{fraction:g}"]
    parts += [] if block is None else [f"block {block}"]
    return " ".join([*parts, *([label] if label else []), metric])
