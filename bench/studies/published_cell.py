"""A published cell computed again here, and compared with what the study holds of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.cells.files import METRICS_FILE, read_json
from bench.cells.keys import Keys
from bench.protocol.cell import Cell, cell_named
from bench.protocol.label_columns import LABEL_COLUMNS
from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import Protocol
from bench.studies.agreement import refuse_disagreement
from bench.studies.reports import cards_here
from bench.studies.stored.files import Chain, StoredCell, read_chain, study_folder
from bench.studies.stored.results import in_order, study_protocol
from bench.trust.compared_files import COSTS
from bench.trust.verify.check import OnProgress
from bench.trust.verify.rerun import computed_again, other_origin
from imssl.errors import UserError

# What names a number of a cell: its metric, and the class, block and labels where it has them.
NumberName = tuple[str, ...]
Numbers = dict[NumberName, float | None]


@dataclass(frozen=True)
class ComparedNumber:
    """A published number beside the one that was computed now.

    Attributes:
        name: of the number.
        published: None where it is undefined.
        now: likewise.
        between_seeds: how far the study's other seeds are from the published one at most; None without any.
    """

    name: str
    published: float | None
    now: float | None
    between_seeds: float | None

    @property
    def difference(self) -> float | None:
        """Absolute difference; None where either is undefined."""
        return None if self.published is None or self.now is None else abs(self.published - self.now)

    @property
    def within_seeds(self) -> bool:
        """Whether the difference is no larger than that between seeds."""
        if self.published is None and self.now is None:
            return True
        return (
            self.difference is not None
            and self.between_seeds is not None
            and self.difference <= self.between_seeds
        )


@dataclass(frozen=True)
class PublishedRerun:
    """A published cell computed again.

    Attributes:
        title: of the cell.
        equal_files: names of its files that have the published SHA-256.
        other_files: names of those that have another.
        numbers: all that the study holds of the cell.
        elsewhere: what is another machine, device or package version than the study's.
        seconds: that the cell took now.
        computed_for_it: titles of the cells that had to be computed first.
        failure: the documented reason for which it has failed now; empty where it has not.
    """

    title: str
    equal_files: list[str]
    other_files: list[str]
    numbers: list[ComparedNumber]
    elsewhere: list[str]
    seconds: float
    computed_for_it: list[str]
    failure: str = ""

    @property
    def equal(self) -> bool:
        """Whether every file and number is the published one, bit for bit."""
        numbers_agree = all(number.published == number.now for number in self.numbers)
        return not self.failure and not self.other_files and numbers_agree


def rerun_published(name: str, cell_name: str, on_progress: OnProgress) -> PublishedRerun:
    """Compute a cell of a study again, by the study's params.yaml and the data sets that are prepared here.

    Args:
        name: of the study.
        cell_name: of the cell.
        on_progress: called with the cell at work, and its steps.

    Raises:
        UserError: there is no such study or cell, the study does not hold it, data or the suite's version are
            others here, or it cannot be computed.
    """
    study = study_folder(name)
    protocol = study_protocol(study)
    cell = cell_named(cell_name, protocol)
    refuse_disagreement(study, protocol, cards_here(protocol), seeds_may_differ=False, only=cell.dataset)
    published = _held(study, Chain(cell.dataset, cell.method, cell.seed), protocol)
    if published is None or published[cell].record["status"] == "failed":
        raise UserError(f"the study {name} holds no numbers of {cell.name}")
    kept, encoder = published[cell], published[Cell("pretrain", cell.dataset, cell.method, cell.seed)]
    with computed_again(cell, Keys(protocol), on_progress, study / PARAMS) as again:
        files, now = kept.record["files"], again.record.files
        # The numbers have a table of their own, without what the computation took.
        compared = [file for file in sorted(files.keys() | now.keys()) if file != METRICS_FILE]
        is_done = again.record.status == "done"
        numbers = _numbers(read_json(again.folder / METRICS_FILE)) if is_done else {}
        return PublishedRerun(
            title=cell.title,
            equal_files=[file for file in compared if files.get(file) == now.get(file)],
            other_files=[file for file in compared if files.get(file) != now.get(file)],
            numbers=_compared(_numbers(kept.metrics), numbers, _of_other_seeds(study, cell, protocol)),
            elsewhere=other_origin(kept.provenance, again.record.provenance, encoder.cell_record),
            seconds=again.record.provenance.seconds,
            computed_for_it=[earlier.title for earlier in again.before],
            failure=again.record.reason or "",
        )


def _held(study: Path, chain: Chain, protocol: Protocol) -> dict[Cell, StoredCell] | None:
    """The cells of a chain; None where the study does not hold it."""
    stored = read_chain(study, chain)
    if stored is None:
        return None
    cells = chain.cells(protocol)
    return dict(zip(cells, in_order(stored, chain, cells), strict=True))


def _of_other_seeds(study: Path, cell: Cell, protocol: Protocol) -> list[Numbers]:
    """What the study holds of the same cell with other seeds."""
    found = []
    for seed in protocol.seeds:
        like = replace(cell, seed=seed)
        held = None if like == cell else _held(study, Chain(cell.dataset, cell.method, seed), protocol)
        if held is not None:
            found.append(_numbers(held[like].metrics))
    return found


def _numbers(rows: Iterable[dict[str, Any]]) -> Numbers:
    names = ("class", "block", *LABEL_COLUMNS)
    return {
        (row["metric"], *(f"{name} {row[name]}" for name in names if row.get(name) not in (None, ""))): row[
            "value"
        ]
        for row in rows
        if row["metric"] not in COSTS
    }


def _compared(published: Numbers, now: Numbers, seeds: list[Numbers]) -> list[ComparedNumber]:
    rows = []
    for name in published | now:
        value = published.get(name)
        others = [seed[name] for seed in seeds if seed.get(name) is not None]
        gaps = [abs(value - other) for other in others if other is not None] if value is not None else []
        rows.append(ComparedNumber(", ".join(name), value, now.get(name), max(gaps, default=None)))
    return rows
