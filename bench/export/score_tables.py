"""The leaderboard's scores as a paper prints them: a table for each evaluation, without a format yet."""

import math
from dataclasses import dataclass

from bench.protocol.label_columns import labels_in
from bench.report.layout import EVALUATION_NAMES, METRIC_NAMES, listed, number, percent, span
from bench.report.material.label_counts import NOTE as LABELS_NOTE
from bench.report.material.label_counts import labels_drawn
from bench.report.material.wording import few_seeds_words
from bench.report.view import OVERALL, PLACE, Record, View
from bench.summary.summary import synthetic_datasets

HOLE = "–"


@dataclass(frozen=True)
class Score:
    """One cell of a table.

    Attributes:
        mean: the number as text; a dash where there is none.
        interval: below or beside it; empty where there is none.
        is_best: whether no ranked method has a higher mean in the column; never below the least number of
            seeds.
        is_tied: whether it is not the best, and is not distinguishable from it.
        notes: places of the footnotes that are about it, among those of the table.
    """

    mean: str
    interval: str = ""
    is_best: bool = False
    is_tied: bool = False
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ScoreColumn:
    """Heading of a column.

    Attributes:
        group: data set and metric, shared with the columns beside it.
        name: label set or block.
        drawn: the labels that were drawn for the label set; empty for blocks and where no cell says so.
    """

    group: str
    name: str
    drawn: str = ""

    @property
    def lines(self) -> list[str]:
        """The name, and below it what was drawn."""
        return [self.name, *(self.drawn.split(", ") if self.drawn else [])]


@dataclass(frozen=True)
class ScoreTable:
    """Methods as rows, data sets and label sets (or blocks) as columns.

    Attributes:
        evaluation: its id.
        title: its name.
        columns: headings.
        rows: by name of the method, in the leaderboard's order.
        footnotes: of single cells, in the order in which scores refer to them.
        explanation: how the table is read, in sentences.
    """

    evaluation: str
    title: str
    columns: tuple[ScoreColumn, ...]
    rows: dict[str, tuple[Score, ...]]
    footnotes: tuple[str, ...]
    explanation: str


def score_tables(view: View) -> list[ScoreTable]:
    """A table for each evaluation that has a result."""
    tables = [_score_table(view, evaluation) for evaluation in EVALUATION_NAMES]
    return [table for table in tables if any(s.mean != HOLE for row in table.rows.values() for s in row)]


def _score_table(view: View, evaluation: str) -> ScoreTable:
    ranks = view.analysis.ranks
    ranks = ranks[ranks["evaluation"] == evaluation]
    rows_of_columns = [{str(name): value for name, value in row.items()} for row in ranks.to_dict("records")]
    places = {tuple(_key(row, PLACE[:-1])): row for row in rows_of_columns}
    footnotes: dict[str, int] = {}
    columns = [_column(view, row) for row in places.values()]
    rows: dict[str, list[Score]] = {method: [] for method in view.methods}
    for place in places:
        standings = {method: view.ranks.get((*place, method)) for method in view.methods}
        highest = _highest(standings) if marks_best(view) else math.nan
        for method, standing in standings.items():
            rows[method].append(_score(standing, highest, footnotes))
    if view.several:
        columns.append(ScoreColumn("", "mean rank"))
        for method, scores in rows.items():
            scores.append(_mean_rank(view, evaluation, method, footnotes))
    named = {f"{m} (reference)" if m in view.references else m: tuple(s) for m, s in rows.items()}
    title = EVALUATION_NAMES[evaluation]
    counted = any(column.drawn for column in columns)
    return ScoreTable(evaluation, title, tuple(columns), named, tuple(footnotes), _explanation(view, counted))


def marks_best(view: View) -> bool:
    """Whether there is something to compare, and enough seeds to do so."""
    protocol = view.summary.protocol
    return view.several and len(protocol.seeds) >= protocol.report.least_seeds


def _key(row: Record, names: list[str]) -> list[object]:
    values = row | {"labels": labels_in(row)}
    return [None if _is_missing(values[name]) else values[name] for name in names]


def _is_missing(value: object) -> bool:
    return value is None or value != value or str(value) == "<NA>"


def _column(view: View, row: Record) -> ScoreColumn:
    labels = labels_in(row)
    name = f"block {row['block']}" if labels is None else f"{labels.name} of labels"
    if labels is not None and labels.per_class is not None:
        name = labels.name
    drawn = labels_drawn(view.summary, row["dataset"], row["evaluation"], labels)
    return ScoreColumn(f"{row['dataset']} ({METRIC_NAMES[row['metric']]})", name, drawn)


def _highest(standings: dict[str, Record | None]) -> float:
    means = [row["mean"] for row in standings.values() if row is not None and not row["reference"]]
    return max((mean for mean in means if not math.isnan(mean)), default=math.nan)


def _score(standing: Record | None, highest: float, footnotes: dict[str, int]) -> Score:
    if standing is None or math.isnan(standing["mean"]):
        reason = str(standing["reason"]) if standing is not None else "no result yet"
        return Score(HOLE, notes=(footnotes.setdefault(reason or "no result", len(footnotes)),))
    interval = "" if math.isnan(standing["low"]) else f"[{span(standing['low'], standing['high'])}]"
    is_best = not standing["reference"] and standing["mean"] == highest
    return Score(number(standing["mean"]), interval, is_best, is_tied=bool(standing["tied"]) and not is_best)


def _mean_rank(view: View, evaluation: str, method: str, footnotes: dict[str, int]) -> Score:
    aggregate = view.aggregates.get((evaluation, *[None] * (len(OVERALL) - 2), method))
    if method in view.references:
        reason = "a reference, which is not ranked"
        return Score(HOLE, notes=(footnotes.setdefault(reason, len(footnotes)),))
    if aggregate is None or math.isnan(aggregate["mean_rank"]):
        reason = str(aggregate["reason"]) if aggregate is not None else "no result yet"
        return Score(HOLE, notes=(footnotes.setdefault(reason or "not ranked", len(footnotes)),))
    low, high = aggregate["mean_rank_low"], aggregate["mean_rank_high"]
    return Score(number(aggregate["mean_rank"], 2), "" if math.isnan(low) else f"[{span(low, high, 2)}]")


def _explanation(view: View, counted: bool) -> str:
    protocol, settings = view.summary.protocol, view.summary.protocol.report
    seeds, level = len(protocol.seeds), percent(settings.level)
    units = sorted({f"{column.units:,} {column.unit}" for column in view.summary.columns.values()})
    sentences = [
        f"Mean over {seeds} seeds." if seeds > 1 else "One seed.",
        f"In brackets: {level} interval over {'patients and seeds' if seeds > 1 else 'patients'}"
        f"{f' ({listed(units)} tested)' if units else ''}.",
    ]
    if marks_best(view):
        sentences.append("Bold: the highest mean of the column, references aside.")
        sentences.append(
            f"Dagger: not distinguishable from it at the level {level}, corrected for all pairs in a column."
        )
    elif view.several:
        sentences.append(f"Nothing is marked: {few_seeds_words(seeds, settings)}")
    if counted:
        sentences.append(LABELS_NOTE)
    if synthetic := synthetic_datasets(protocol, view.summary.results):
        sentences.append(f"The images of {listed(synthetic)} are synthetic.")
    return " ".join(sentences)
