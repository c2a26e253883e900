"""What every page is made from: the summary, the analysis found by place, and which methods stand where."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.analysis.analyse import Analysis
from bench.cells.method_facts import reference_methods
from bench.report.entries import styles_of
from bench.report.layout import Row
from bench.report.wording import REFERENCES
from bench.summary.summary import Summary

PLACE = ["dataset", "evaluation", "fraction", "block", "method"]
OVERALL = ["evaluation", "fraction", "block", "method"]

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
        aggregates: by OVERALL; fraction and block are None for the row over all of them.
        efficiency: by data set, evaluation and method.
        methods: ids, the lowest mean rank first where all have one, otherwise in the protocol's order; the
            references last.
        references: ids of the methods that do not pretrain.
        drawn: those that charts show.
    """

    summary: Summary
    analysis: Analysis
    ranks: Records
    differences: Records
    aggregates: Records
    efficiency: Records
    methods: tuple[str, ...]
    references: tuple[str, ...]
    drawn: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether there are methods to rank."""
        return len(self.methods) - len(self.references) > 1

    def head(self, method: str, root: str) -> Row:
        """A method's row without entries.

        Args:
            method: its id.
            root: of the reports, as seen from the page.
        """
        group = REFERENCES if self.several and method in self.references else ""
        return Row(method, (), styles_of(self.summary)[method], group, f"{root}methods/{method}.html")


def view_of(summary: Summary, analysis: Analysis) -> View:
    """Gather what the pages show."""
    aggregates = _records_by(analysis.aggregates, OVERALL)
    references = reference_methods(summary.protocol)
    ranked = [method for method in summary.protocol.methods if method not in references]
    methods = _ordered(ranked, aggregates) + references
    return View(
        summary=summary,
        analysis=analysis,
        ranks=_records_by(analysis.ranks, PLACE),
        differences=_records_by(analysis.differences, PLACE),
        aggregates=aggregates,
        efficiency=_records_by(analysis.label_efficiency, ["dataset", "evaluation", "method"]),
        methods=tuple(methods),
        references=tuple(references),
        drawn=tuple(drawn_methods(list(summary.protocol.methods), summary.protocol.report.baseline, methods)),
    )


def _records_by(table: pd.DataFrame, keys: Sequence[str]) -> Records:
    records = [{str(k): v for k, v in record.items()} for record in table.to_dict("records")]
    return {
        tuple(None if pd.isna(record[key]) else record[key] for key in keys): record for record in records
    }


def _ordered(methods: list[str], aggregates: Records) -> list[str]:
    ranks: dict[str, float] = {}
    for method in methods:
        overall = aggregates.get(("finetune", None, None, method))
        if overall is None or pd.isna(overall["mean_rank"]):
            return methods
        ranks[method] = overall["mean_rank"]
    return sorted(methods, key=lambda method: ranks[method])


# More lines than colours cannot be told apart; the tables hold everything.
MOST_DRAWN = 8


def drawn_methods(methods: Sequence[str], baseline: str, order: Sequence[str]) -> list[str]:
    """The methods that charts show: all, or where these are too many the baseline and the first of an order.

    Args:
        methods: of the protocol.
        baseline: always shown.
        order: from the best to the worst.

    Returns:
        At most MOST_DRAWN of the methods, in the protocol's order.
    """
    if len(methods) <= MOST_DRAWN:
        return list(methods)
    chosen = {baseline, *[name for name in order if name != baseline][: MOST_DRAWN - 1]}
    return [name for name in methods if name in chosen]
