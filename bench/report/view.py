"""What every page is made from: the summary, the analysis found by place, and which methods stand where."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from bench.analysis.analyse import Analysis, analyse
from bench.analysis.row_models import records
from bench.cells.method_facts import reference_methods, untrained_methods
from bench.methods.tuned import trials_file
from bench.protocol.label_columns import LABEL_COLUMNS, labels_in
from bench.protocol.protocol import Protocol
from bench.report.entries import styles_of
from bench.report.layout import Row
from bench.report.material.wording import REFERENCE
from bench.summary.read import Results
from bench.summary.summary import Summary, summarise

PLACE = ["dataset", "evaluation", "labels", "block", "method"]
OVERALL = ["evaluation", "labels", "block", "method"]

Record = dict[str, Any]
Records = dict[tuple[Hashable, ...], Record]


@dataclass(frozen=True)
class View:
    """A run as the pages show it.

    Attributes:
        summary: every measurement.
        analysis: every comparison.
        ranks: rows of the analysis by PLACE.
        differences: likewise.
        untrained_differences: likewise.
        score_differences: by evaluation, reference and method.
        aggregates: by OVERALL; label set and block are None for the row over all of them.
        efficiency: by data set, evaluation and method.
        standings: by evaluation and method.
        methods: ids, the highest mean score of fine-tuning first; those without one last, in the protocol's
            order.
        references: ids of the methods that the others are measured against.
        untrained: those of them whose weights nobody has trained.
        drawn_first: those that charts show before the best: the baseline, and whom somebody came to see.
        trials: by method, where the trials of its tuning are listed, where that is not this checkout's.
    """

    summary: Summary
    analysis: Analysis
    ranks: Records
    differences: Records
    untrained_differences: Records
    score_differences: Records
    aggregates: Records
    efficiency: Records
    standings: Records
    methods: tuple[str, ...]
    references: tuple[str, ...]
    untrained: tuple[str, ...]
    drawn_first: tuple[str, ...]
    trials: Mapping[str, Path]

    @property
    def drawn(self) -> list[str]:
        """The methods that charts show until others are ticked."""
        return drawn_methods(list(self.summary.protocol.methods), self.drawn_first, self.methods)

    @property
    def several(self) -> bool:
        """Whether there are methods to rank."""
        return len(self.methods) - len(self.references) > 1

    def ordered(self, evaluation: str) -> list[str]:
        """All methods, the highest mean score of an evaluation first; those without one last."""
        return _ordered(list(self.summary.protocol.methods), self.standings, evaluation)

    def trials_of(self, method: str) -> Path:
        """Where the trials of a method's tuning are listed."""
        return self.trials.get(method) or trials_file(method)

    def head(self, method: str, root: str) -> Row:
        """A method's row without entries.

        Args:
            method: its id.
            root: of the reports, as seen from the page.
        """
        note = REFERENCE if self.several and method in self.references else ""
        style = styles_of(self.summary)[method]
        return Row(method, (), style, link=f"{root}methods/{method}.html", note=note)


def view_of_results(protocol: Protocol, results: Results, trials: Mapping[str, Path] | None = None) -> View:
    """Every statistic of some results, as the pages show them.

    Args:
        protocol: of the run.
        results: what its cells have left.
        trials: see View.
    """
    # BLAS on one thread: the data sets are side by side already, and its threads would wait for one another.
    with threadpool_limits(1, user_api="blas"):
        summary = summarise(protocol, results)
        return view_of(summary, analyse(summary), trials)


def view_of(summary: Summary, analysis: Analysis, trials: Mapping[str, Path] | None = None) -> View:
    """Gather what the pages show."""
    references = reference_methods(summary.protocol)
    standings = _records_by(analysis.standings, ["evaluation", "method"])
    methods = _ordered(list(summary.protocol.methods), standings, "finetune")
    return View(
        summary=summary,
        analysis=analysis,
        ranks=_records_by(analysis.ranks, PLACE),
        differences=_records_by(analysis.differences, PLACE),
        untrained_differences=_records_by(analysis.untrained_differences, PLACE),
        score_differences=_records_by(analysis.score_differences, ["evaluation", "baseline", "method"]),
        aggregates=_records_by(analysis.aggregates, OVERALL),
        efficiency=_records_by(analysis.label_efficiency, ["dataset", "evaluation", "method"]),
        standings=standings,
        methods=tuple(methods),
        references=tuple(references),
        untrained=tuple(untrained_methods(summary.protocol)),
        drawn_first=(summary.protocol.report.baseline,),
        trials=trials or {},
    )


def _records_by(table: pd.DataFrame, keys: Sequence[str]) -> Records:
    """Rows of a table by some of their columns; ``labels`` is the label set, which has two of its own."""
    named = table[[name for key in keys for name in (LABEL_COLUMNS if key == "labels" else (key,))]]
    places = [
        tuple(labels_in(row) if key == "labels" else row[key] for key in keys) for row in records(named)
    ]
    rows: list[Any] = table.to_dict("records")
    return dict(zip(places, rows, strict=True))


def _ordered(methods: list[str], standings: Records, evaluation: str) -> list[str]:
    scores = {method: standings[evaluation, method]["mean_score"] for method in methods}
    return sorted(methods, key=lambda method: math.inf if pd.isna(scores[method]) else -scores[method])


# More lines than colours cannot be told apart; the tables hold everything.
MOST_DRAWN = 8


def drawn_methods(methods: Sequence[str], first: Sequence[str], order: Sequence[str]) -> list[str]:
    """The methods that charts show: all, or where these are too many some that are asked for and the best.

    Args:
        methods: of the protocol.
        first: shown before any other, such as the baseline.
        order: from the best to the worst.

    Returns:
        At most MOST_DRAWN of the methods, in the protocol's order.
    """
    candidates = [name for name in dict.fromkeys([*first, *order]) if name in methods]
    chosen = candidates[:MOST_DRAWN]
    return [name for name in methods if name in chosen]
