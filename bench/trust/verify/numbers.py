"""Every number of reports/results.csv and metrics.json against what the stored predictions give."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from bench.cells.files import (
    FEATURES_FILE,
    HISTORY_FILE,
    LEFT_OUT_FILE,
    LEFT_OUT_PATIENTS,
    RESTORED_FILE,
    SUBSET_FILE,
    cell_path,
    data_folder,
    left_out_arrays,
    read_json,
    read_table,
)
from bench.cells.method_facts import facts_of
from bench.cells.predictions import read_predictions
from bench.protocol.cell import Cell
from bench.protocol.label_columns import LABEL_COLUMNS, label_columns, labels_in
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import PREDICTIONS_FILE, STAGES, Stage
from bench.report.charts.plot_tables import METRICS
from bench.report.layout import BY_LABEL_SET
from bench.report.leaderboard import RESULTS_TABLE
from bench.trust.verify.check import Check
from bench.trust.verify.recomputed import Values, cka_interval_values, cka_values, ks_distances, scores
from imssl.cka import KERNELS
from imssl.datasets.prepared import Card, read_card
from imssl.errors import UserError
from imssl.seeds import numpy_generator
from imssl.settings.encoder import BLOCKS
from imssl.settings.labels import LabelSet

NUMBERS = f"numbers of {RESULTS_TABLE}"
LEFT_OUT = f"numbers of the cells' {LEFT_OUT_FILE}"
# Columns of results.csv that tell its rows apart.
PLACE = ("dataset", "method", "seed", "evaluation", *LABEL_COLUMNS, "block", "class", "metric")


@dataclass(frozen=True)
class Group:
    """Values of a cell that share a label set and a block.

    Attributes:
        labels: of which they are; None where the evaluation has no label sets.
        block: of the encoder; None where the whole encoder is meant.
        values: recomputed.
        left_out: linear CKA without each patient in turn, by their ids; of feature reuse only.
    """

    labels: LabelSet | None
    block: int | None
    values: Values
    left_out: dict[str, float] | None = None


# A number's place in results.csv, and what it should be.
Recomputed = dict[tuple[Any, ...], float | None]


def is_restored(cell: Cell) -> bool:
    """Whether a cell was brought back from a published study, so that its predictions are rounded."""
    return (cell_path(cell) / RESTORED_FILE).is_file()


def recompute(protocol: Protocol, cells: list[Cell]) -> tuple[Recomputed, list[Check]]:
    """Recompute the numbers of finished cells of one data set from their files.

    Args:
        protocol: of the run.
        cells: those that are done.

    Returns:
        The numbers; and two checks: NUMBERS with the cells whose files do not give any, and LEFT_OUT of what
        no table holds.
    """
    unreadable, left_out = Check(NUMBERS), Check(LEFT_OUT)
    recomputed: Recomputed = {}
    for cell in cells:
        try:
            groups = list(_recomputed(cell, protocol, read_card(data_folder(cell.dataset))))
            _compare_left_out(left_out, cell, groups)
        except (UserError, OSError, ValueError, KeyError) as error:
            unreadable.compare(cell_path(cell), "files to recompute from", str(error).splitlines()[0])
            continue
        for group in groups:
            for (label, metric), value in group.values.items():
                recomputed[place_of(cell, group.labels, group.block, label, metric)] = value
    return recomputed, [unreadable, left_out]


def compare_tables(protocol: Protocol, recomputed: Recomputed, unreadable: Check) -> list[Check]:
    """Compare the two tables with what was recomputed.

    Args:
        protocol: of the run.
        recomputed: the numbers of all cells.
        unreadable: the check of cells that gave none; results.csv is compared under it.
    """
    short = Check(f"numbers of {METRICS}")
    datasets = dict.fromkeys(str(place[0]) for place in recomputed)
    _compare_table(unreadable, recomputed)
    _compare_short(
        short, protocol, recomputed, {dataset: read_card(data_folder(dataset)) for dataset in datasets}
    )
    return [unreadable, short]


def place_of(
    cell: Cell, labels: LabelSet | None, block: int | None, label: str, metric: str
) -> tuple[Any, ...]:
    """The columns PLACE of a number of a cell."""
    run = (cell.dataset, cell.method, cell.seed, cell.stage)
    return (*run, *label_columns(labels).values(), block, label, metric)


def _recomputed(cell: Cell, protocol: Protocol, card: Card) -> Iterator[Group]:
    if cell.stage == "reuse":
        yield from _reused(cell, protocol)
    elif cell.stage == "ks":
        *smaller, everything = [_finetune_cell(cell, labels) for labels in protocol.label_sets]
        reference = read_predictions(cell_path(everything) / PREDICTIONS_FILE, card).probabilities
        for finetuned in smaller:
            outputs = read_predictions(cell_path(finetuned) / PREDICTIONS_FILE, card).probabilities
            yield Group(finetuned.labels, None, ks_distances(outputs, reference, card.task, card.classes))
    else:
        for block, file in (STAGES[cell.stage].predictions or {}).items():
            stored = read_predictions(cell_path(cell) / file, card)
            values = scores(card.task, stored.labels, stored.probabilities, card.classes)
            yield Group(cell.labels, block, values | _choices(cell))


def _choices(cell: Cell) -> Values:
    """What can be counted again: the labelled images, and the step that was best on validation images."""
    values: Values = {}
    if STAGES[cell.stage].per_label_set:
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
    features = {}
    for labels in protocol.label_sets:
        file = cell_path(_finetune_cell(cell, labels)) / FEATURES_FILE
        with np.load(file, allow_pickle=False) as stored:
            features[labels] = {name: stored[name] for name in stored.files}
    for block in range(1, BLOCKS + 1):
        for label_sets in _of_equal_encoders(features, block):
            before = features[label_sets[0]][f"before_{block}"]
            patients = features[label_sets[0]]["patients"]
            afters = [features[labels][f"after_{block}"] for labels in label_sets]
            draw = numpy_generator(cell.seed, "permutations", block)
            orders = [draw.permutation(len(before)) for _ in range(settings.permutations)]
            of_kernels = [
                cka_values(before, afters, kernel, settings.bandwidth, orders) for kernel in KERNELS
            ]
            for i, labels in enumerate(label_sets):
                values, left_out = Values(), {}
                for kernel, of_label_sets in zip(KERNELS, of_kernels, strict=True):
                    interval, left_out[kernel] = cka_interval_values(
                        before, afters[i], patients, kernel, settings.bandwidth
                    )
                    values |= of_label_sets[i] | interval
                of_patients = dict(zip(np.unique(patients).tolist(), left_out["linear"], strict=True))
                yield Group(labels, block, values, of_patients)


def _compare_left_out(check: Check, cell: Cell, groups: list[Group]) -> None:
    """The claims on feature reuse are judged by this file, and no table holds its numbers."""
    expected = {
        (group.labels, group.block): group.left_out
        for group in groups
        if group.labels and group.block and group.left_out
    }
    if not expected:
        return
    file = cell_path(cell) / LEFT_OUT_FILE
    stored = left_out_arrays(file, file.read_bytes())
    for (labels, block), of_patients in expected.items():
        if list(of_patients) != stored[LEFT_OUT_PATIENTS].tolist():
            raise ValueError(f"{LEFT_OUT_FILE} is of other patients than the features")
        for (patient, value), found in zip(of_patients.items(), stored[labels.id][block - 1], strict=True):
            where = f"{file} {labels.id} block {block} without {patient}"
            check.compare_numbers(where, _defined(value), _defined(found))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _of_equal_encoders(features: dict[LabelSet, dict[str, np.ndarray]], block: int) -> list[list[LabelSet]]:
    """The label sets, together where the same encoder was fine-tuned: what it gives is computed once."""
    groups: dict[bytes, list[LabelSet]] = {}
    for labels, stored in features.items():
        content = stored[f"before_{block}"].tobytes() + stored["patients"].tobytes()
        groups.setdefault(content, []).append(labels)
    return list(groups.values())


def _finetune_cell(cell: Cell, labels: LabelSet) -> Cell:
    return Cell("finetune", cell.dataset, cell.method, cell.seed, labels)


def compare_values(check: Check, recomputed: Recomputed, written: Mapping[tuple[Any, ...], Any]) -> None:
    """Compare every recomputed number with the one that is written in its place."""
    for place, value in recomputed.items():
        if place in written:
            check.compare_numbers(_words(place), value, written[place])
        else:
            check.compare(_words(place), value, "no such row")


def _compare_table(check: Check, recomputed: Recomputed) -> None:
    table = read_table(RESULTS_TABLE)
    missing = [name for name in (*PLACE, "value", "status") if name not in table.columns]
    if missing:
        raise UserError(f"{RESULTS_TABLE} lacks the columns {', '.join(missing)}. Run: bench report")
    written: dict[tuple[Any, ...], float | None] = {}
    for row in table[table["status"] == "done"].to_dict("records"):
        place = tuple(_plain(row[name], name) for name in PLACE)
        written[place] = None if pd.isna(row["value"]) else float(row["value"])
    compare_values(check, recomputed, written)
    rest = Counter(str(place[-1]) for place in written.keys() - recomputed.keys())
    if rest:
        names = ", ".join(f"{name} ({count})" for name, count in sorted(rest.items()))
        check.notes.append(f"measured or chosen in training, so compared with the cells only: {names}")


def _plain(value: Any, column: str) -> Any:
    if pd.isna(value):
        return "" if column in ("class", "metric") else None
    if column in ("seed", "block", "labels_per_class"):
        return int(value)
    return float(value) if column == "fraction" else str(value)


def _compare_short(check: Check, protocol: Protocol, recomputed: Recomputed, cards: dict[str, Card]) -> None:
    short = read_json(METRICS)
    for dataset, card in cards.items():
        for method in protocol.methods:
            for evaluation, labels, block, words in _short_places(protocol):
                stage, of_cell = cast(Stage, evaluation), None if evaluation == "probe" else labels
                if any(is_restored(Cell(stage, dataset, method, seed, of_cell)) for seed in protocol.seeds):
                    continue
                place = (evaluation, *label_columns(labels).values(), block, "", card.primary_metric)
                values = [recomputed.get((dataset, method, seed, *place)) for seed in protocol.seeds]
                defined = [value for value in values if value is not None]
                mean = float(np.mean(defined)) if len(defined) == len(values) else None
                written_mean = short.get(dataset, {}).get(method, {}).get(words)
                # The file holds six digits.
                off = mean is None or written_mean is None or abs(mean - written_mean) > 5.1e-7
                where = f"{dataset} {method} {words}"
                check.compare(where, mean if off else written_mean, written_mean)


def _short_places(protocol: Protocol) -> Iterator[tuple[str, LabelSet | None, int | None, str]]:
    for evaluation in BY_LABEL_SET:
        for labels in protocol.label_sets:
            yield evaluation, labels, None, f"{evaluation} {labels.id}"
    for block in range(1, BLOCKS + 1):
        yield "probe", None, block, f"probe block {block}"


def _words(place: tuple[Any, ...]) -> str:
    dataset, method, seed, evaluation, fraction, per_class, block, label, metric = place
    labels = labels_in({"fraction": fraction, "labels_per_class": per_class})
    parts = [dataset, method, f"seed {seed}", evaluation]
    parts += [] if labels is None else [labels.id]
    parts += [] if block is None else [f"block {block}"]
    return " ".join([*parts, *([label] if label else []), metric])
