"""The numbers of subgroups in reports/results.json against samples.csv and the stored predictions."""

import csv
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cells.files import cell_path, data_folder, read_json
from bench.cells.predictions import Predictions, read_predictions
from bench.protocol.cell import Cell
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import PREDICTIONS_FILE
from bench.report.leaderboard import DOCUMENT
from bench.trust.verify.check import Check
from bench.trust.verify.recomputed import scores
from imssl.datasets.prepared import SAMPLES_FILE, Card, read_card
from imssl.errors import UserError
from imssl.settings.labels import EVERYTHING

SUBGROUPS = f"subgroups of {DOCUMENT}"  # name of the check
YEARS_IN = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def check_subgroups(protocol: Protocol, cells: Sequence[Cell]) -> Check:
    """Recompute every subgroup's value, its patients and images, and the gaps.

    Values are scikit-learn's on the rows of the subgroup; the intervals are those of the report, which is
    made again as a whole.

    Args:
        protocol: of the run.
        cells: those that are done.
    """
    check = Check(SUBGROUPS)
    content = read_json(DOCUMENT)
    done, values = set(cells), dict[tuple[str, ...], float]()
    read = _Read()
    for row in content.get("subgroups", []):
        dataset, evaluation, method = row["dataset"], row["evaluation"], row["method"]
        where = " ".join([dataset, evaluation, method, row["attribute"], row["subgroup"]])
        runs = [Cell(evaluation, dataset, method, seed, EVERYTHING) for seed in protocol.seeds]
        if not done.issuperset(runs):
            check.compare(where, "predictions of every seed", "a cell without results")
            continue
        card = read.card(dataset)
        try:
            stored = [read.predictions(run) for run in runs]
        except UserError as error:
            check.compare(where, "files to recompute from", str(error).splitlines()[0])
            continue
        texts = read.attribute(dataset, row["attribute"])
        names = _subgroup_names(row["attribute"], [texts.get(name, "") for name in stored[0].ids])
        rows = np.flatnonzero(np.array(names) == row["subgroup"])
        check.compare(f"{where}: images", len(rows), row["images"])
        check.compare(f"{where}: patients", len(set(stored[0].patients[rows])), row["patients"])
        if row["value"] is not None:
            value = _mean(card, stored, rows)
            check.compare_numbers(where, value, row["value"])
            if value is not None:
                values[dataset, evaluation, method, row["attribute"], row["subgroup"]] = value
    _compare_gaps(check, content.get("subgroup_gaps", []), values)
    return check


def _compare_gaps(
    check: Check, gaps: Sequence[Mapping[str, Any]], values: Mapping[tuple[str, ...], float]
) -> None:
    by_method: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for of_subgroup, value in values.items():
        by_method[of_subgroup[:-1]].append(value)
    for row in gaps:
        place = row["dataset"], row["evaluation"], row["method"], row["attribute"]
        compared = by_method[place]
        gap = float(np.ptp(compared)) if len(compared) > 1 else None
        check.compare_numbers(f"{' '.join(place)}: gap", gap, row["gap"])


class _Read:
    """The files behind the rows, each of which is read once."""

    def __init__(self) -> None:
        self.card = cache(lambda dataset: read_card(data_folder(dataset)))
        self.predictions = cache(self._predictions)
        self.attribute = cache(_attribute_of)

    def _predictions(self, run: Cell) -> Predictions:
        return read_predictions(cell_path(run) / PREDICTIONS_FILE, self.card(run.dataset))


def _attribute_of(dataset: str, attribute: str) -> dict[str, str]:
    """Of every sample, by id."""
    with (data_folder(dataset) / SAMPLES_FILE).open(newline="", encoding="utf-8") as file:
        return {row["id"]: row[attribute].strip() for row in csv.DictReader(file)}


def _subgroup_names(attribute: str, texts: Sequence[str]) -> list[str]:
    """The subgroup of every sample, as docs/statistics.md describes them."""
    distinct = set(texts) - {""}
    numbers = {text: number for text in distinct if (number := _number(text)) is not None}
    if len(numbers) < len(distinct) or not distinct:
        return [text or "not given" for text in texts]
    if len(set(numbers.values())) <= 6:
        written: dict[float, str] = {}
        for text in texts:
            if text:
                written.setdefault(numbers[text], text)
        return [written[numbers[text]] if text else "not given" for text in texts]
    plain = [numbers[text] for text in texts if text]
    edges = sorted(set(np.percentile(plain, [25, 50, 75]).tolist()))
    names = [f"{attribute} up to {edges[0]:g}"]
    names += [f"{edges[i]:g} to {edges[i + 1]:g}" for i in range(len(edges) - 1)]
    names += [f"{attribute} above {edges[-1]:g}"]
    return [names[bisect_left(edges, numbers[text])] if text else "not given" for text in texts]


def _number(text: str) -> float | None:
    if len(text) == 4 and text[:3].isdecimal() and text[3] in YEARS_IN:
        return int(text[:3]) * YEARS_IN[text[3]]
    try:
        return float(text) if np.isfinite(float(text)) else None
    except ValueError:
        return None


def _mean(card: Card, stored: Sequence[Predictions], rows: NDArray[np.int64]) -> float | None:
    name = "", card.primary_metric
    values = [
        scores(card.task, run.labels[rows], run.probabilities[rows], card.classes)[name] for run in stored
    ]
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None
