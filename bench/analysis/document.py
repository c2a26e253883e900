"""reports/results.json: everything on the leaderboard in one file, with a versioned schema.

The schema is that of the models below: ``bench report --schema`` prints it. A change that an old file would
not pass needs a new version, and a reader for the old one.
"""

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.analysis.aggregates import AggregateRow
from bench.analysis.analyse import Analysis
from bench.analysis.differences import DifferenceRow
from bench.analysis.label_efficiency import LabelEfficiencyRow
from bench.analysis.ranking.ranks import RankRow
from bench.analysis.ranking.standings import StandingRow
from bench.analysis.reproduction.claims import ClaimEffectRow, ClaimRow
from bench.analysis.reproduction.ledger import LedgerRow
from bench.analysis.row_models import Count, Number, RowModel, records
from bench.analysis.subgroups import SubgroupGapRow, SubgroupRow
from bench.cells.files import read_json
from bench.protocol.label_columns import label_columns
from bench.summary.summary import Summary
from bench.summary.tidy import COLUMNS
from imssl.datasets.prepared import Card
from imssl.datasets.skipped import by_reason
from imssl.durable import write_text
from imssl.errors import UserError

VERSION = 4


class MeasurementRow(RowModel):
    """One measurement over its seeds."""

    dataset: str = Field(description=COLUMNS["dataset"])
    method: str = Field(description=COLUMNS["method"])
    evaluation: str = Field(description=COLUMNS["evaluation"])
    fraction: Number = Field(description=COLUMNS["fraction"])
    labels_per_class: Count = Field(default=None, description=COLUMNS["labels_per_class"])
    block: Count = Field(description=COLUMNS["block"])
    # A field cannot be called `class`, so that one is known by its name in the file only.
    class_name: str = Field(alias="class", description=COLUMNS["class"])
    metric: str = Field(description=COLUMNS["metric"])
    mean: Number = Field(description="over seeds; null unless every seed has a defined value")
    lowest: Number = Field(description="of the seeds; null unless every seed has a defined value")
    highest: Number = Field(description="of the seeds; null unless every seed has a defined value")
    found: int = Field(description="seeds with a defined value")
    expected: int = Field(description="seeds of the protocol")
    low: Number = Field(
        description="lower end of the interval over patients and seeds, with one seed over patients only; "
        "for primary metrics only"
    )
    high: Number = Field(description="upper end")


class CellEntry(BaseModel):
    """How one cell stands, and where its numbers come from."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    dataset: str
    method: str
    seed: int
    fraction: float | None
    labels_per_class: int | None
    mode: str | None
    status: Literal["done", "missing", "failed", "stale", "damaged"]
    reason: str = Field(description="why there is no result; empty if there is one")
    key: str | None = Field(description="hash of everything that decides the cell's numbers")
    commit: str | None
    clean: bool | None = Field(description="whether the working tree was clean")
    device: str | None


class ResultsDocument(BaseModel):
    """Everything on the leaderboard. NaN is written as null."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[4] = Field(description="of this file")
    protocol: dict[str, Any] = Field(description="params.yaml, defaults included")
    datasets: dict[str, Card] = Field(description="data cards of the data sets that are prepared")
    unprepared: dict[str, str] = Field(description="why the other data sets are not")
    cells: list[CellEntry]
    measurements: list[MeasurementRow] = Field(description="every measurement over its seeds")
    standings: list[StandingRow] = Field(
        default=[], description="over all data sets; empty in files from before there were any"
    )
    ranks: list[RankRow]
    differences: list[DifferenceRow]
    untrained_differences: list[DifferenceRow] = Field(
        default=[],
        description="to the stronger untrained reference of each column, chosen on validation images; empty "
        "in files from before there were any, and without such a reference",
    )
    score_differences: list[DifferenceRow] = Field(
        default=[],
        description="of mean scores over all data sets to those of the references; empty likewise",
    )
    aggregates: list[AggregateRow]
    label_efficiency: list[LabelEfficiencyRow]
    claims: list[ClaimRow]
    claim_effects: list[ClaimEffectRow]
    subgroups: list[SubgroupRow]
    subgroup_gaps: list[SubgroupGapRow]
    ledger: list[LedgerRow]


def results_document(summary: Summary, analysis: Analysis) -> ResultsDocument:
    """Gather and validate the document."""
    return ResultsDocument.model_validate(
        {
            "schema_version": VERSION,
            "protocol": summary.protocol.model_dump(mode="json"),
            "datasets": {name: card.model_dump() for name, card in summary.results.cards.items()},
            "unprepared": summary.results.unprepared,
            "cells": _cells(summary),
            "measurements": _measurements(summary),
            "standings": records(analysis.standings),
            "ranks": records(analysis.ranks),
            "differences": records(analysis.differences),
            "untrained_differences": records(analysis.untrained_differences),
            "score_differences": records(analysis.score_differences),
            "aggregates": records(analysis.aggregates),
            "label_efficiency": records(analysis.label_efficiency),
            "claims": records(analysis.claims),
            "claim_effects": records(analysis.claim_effects),
            "subgroups": records(analysis.subgroups),
            "subgroup_gaps": records(analysis.subgroup_gaps),
            "ledger": records(analysis.ledger),
        }
    )


def write_document(file: Path, document: ResultsDocument) -> None:
    """Write the document; equal content is equal bytes."""
    write_text(file, document.model_dump_json(by_alias=True) + "\n")


def read_document(file: Path) -> ResultsDocument:
    """Read a document of any version so far; an older one comes back as the current one.

    Raises:
        UserError: it is missing, not JSON, of a version that this suite does not know, or does not fit it.
    """
    content = read_json(file)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in range(1, VERSION + 1):
        raise UserError(
            f"{file} has schema version {version}; this version of the suite reads versions 1 to {VERSION}. "
            "Write it anew with: bench report"
        )
    try:
        if version == 1:
            content = _from_version_1(content)
        if version in (1, 2):
            content = _from_version_2(content)
        if version != VERSION:
            content = _from_version_3(content)
        return ResultsDocument.model_validate(content)
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} does not fit schema version {version}: {error!r}") from None


def _from_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """A document of version 1 as one of version 2.

    Version 1 ranked the untrained encoder with the others, had no effects by data set and no family of
    verdicts, and counted saved labels without those of validation; what it does not say is null.
    """
    no_reference = {"reference": False}
    new_in_efficiency = {"reference": "", "labels_all": None, "labels_needed": None, "labels_saved_low": None}
    new_in_claims = {"reported_size": None, "family": 1, "size": "", "scale": "", "detectable": None}
    return content | {
        "schema_version": 2,
        "ranks": [row | no_reference for row in content["ranks"]],
        "differences": [row | no_reference for row in content["differences"]],
        "aggregates": [
            _without(row, "improvement_low", "improvement_high") | no_reference
            for row in content["aggregates"]
        ],
        "label_efficiency": [
            row | new_in_efficiency | {"images_saved": None} for row in content["label_efficiency"]
        ],
        "claims": [
            _without(row, "reference") | new_in_claims | {"compared_with": row["reference"]}
            for row in content["claims"]
        ],
        "claim_effects": [],
    }


def _from_version_2(content: dict[str, Any]) -> dict[str, Any]:
    """A document of version 2 as one of version 3.

    Version 2 knew no label sets of so many labels per class, and no subgroups. Its data cards listed all that
    was left out of a source, one by one.
    """
    by_label_set = ("cells", "measurements", "ranks", "differences", "aggregates")
    new: dict[str, Any] = {
        name: [row | {"labels_per_class": None} for row in content[name]] for name in by_label_set
    }
    new["datasets"] = {name: _counted_by_reason(card) for name, card in content["datasets"].items()}
    return content | new | {"schema_version": 3, "subgroups": [], "subgroup_gaps": []}


def _from_version_3(content: dict[str, Any]) -> dict[str, Any]:
    """A document of version 3 as one of version 4, which corrects the p of a difference in another way."""
    rows = [_without(row, "p_holm") | {"p_corrected": row["p_holm"]} for row in content["differences"]]
    return content | {"schema_version": 4, "differences": rows}


def _counted_by_reason(card: dict[str, Any]) -> dict[str, Any]:
    """A data card of version 1 as one of version 2; a later one as it is."""
    if card["schema_version"] != 1:
        return card
    groups = by_reason([(left_out["name"], left_out["reason"]) for left_out in card["skipped"]])
    return card | {"schema_version": 2, "skipped": [group.model_dump() for group in groups]}


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _measurements(summary: Summary) -> list[dict[str, Any]]:
    rows = []
    for name, row in summary.measured.items():
        interval = summary.intervals.get(name)
        is_known = not math.isnan(row.mean)
        rows.append(
            {
                **name.columns,
                "mean": row.mean if is_known else None,
                "lowest": row.lowest if is_known else None,
                "highest": row.highest if is_known else None,
                "found": row.found,
                "expected": row.expected,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
            }
        )
    return rows


def _cells(summary: Summary) -> list[dict[str, Any]]:
    entries = []
    for cell, state in summary.results.states.items():
        record = state.record
        entries.append(
            {
                "stage": cell.stage,
                "dataset": cell.dataset,
                "method": cell.method,
                "seed": cell.seed,
                **label_columns(cell.labels),
                "mode": None,
                "status": state.status,
                "reason": state.reason,
                "key": record.key if record else None,
                "commit": record.provenance.commit if record else None,
                "clean": record.provenance.clean if record else None,
                "device": record.provenance.device if record else None,
            }
        )
    return entries
