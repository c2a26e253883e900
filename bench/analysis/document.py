"""reports/results.json: everything on the leaderboard in one file, with a versioned schema.

The schema is that of the models below: ``bench report --schema`` prints it. A change that an old file would
not pass needs a new version, and a reader for the old one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from bench.analysis.aggregates import AGGREGATES
from bench.analysis.analyse import Analysis
from bench.analysis.claims import CLAIMS
from bench.analysis.differences import DIFFERENCES
from bench.analysis.label_efficiency import LABEL_EFFICIENCY
from bench.analysis.ledger import LEDGER
from bench.analysis.ranks import RANKS
from bench.cells.files import read_json
from bench.summary.over_seeds import MEASUREMENT
from bench.summary.summary import Summary
from bench.summary.tidy import COLUMNS
from imssl.datasets.prepared import Card
from imssl.durable import write_text
from imssl.errors import UserError

VERSION = 1

MEASUREMENTS: dict[str, str] = {
    **{name: COLUMNS[name] for name in MEASUREMENT},
    "mean": "over seeds; null unless every seed has a defined value",
    "lowest": "of the seeds; null unless every seed has a defined value",
    "highest": "of the seeds; null unless every seed has a defined value",
    "found": "seeds with a defined value",
    "expected": "seeds of the protocol",
    "low": "lower end of the bootstrap interval over test patients; for primary metrics only",
    "high": "upper end",
}

# Columns that are not numbers, in any of the tables; every other column is a number or null.
TEXT = (
    "dataset", "evaluation", "metric", "method", "baseline", "reason", "unit", "reached", "claim_id", "claim",
    "made_in", "reported", "measured", "rule", "reference", "where", "judged_on", "verdict", "why", "about",
    "kind", "aspect", "paper", "released", "here", "differs_from", "class",
)  # fmt: skip
WHOLE = ("seeds", "units", "undefined", "ranked", "columns", "datasets", "found", "expected")
WHOLE_OR_NULL = ("block", "images_saved", "seeds_needed")
FLAGS = ("best", "tied", "distinguishable", "overall")


def row_model(name: str, columns: Mapping[str, str]) -> type[BaseModel]:
    """A model of a table's rows, from what the table says about its columns."""
    fields: dict[str, Any] = {}
    for column, meaning in columns.items():
        kind: Any = float | None
        if column in TEXT:
            kind = str
        elif column in WHOLE:
            kind = int
        elif column in WHOLE_OR_NULL:
            kind = int | None
        elif column in FLAGS:
            kind = bool
        elif column == "differs":
            kind = bool | None
        # A field cannot be called `class`, so that one is known by its name in the file only.
        field = "class_name" if column == "class" else column
        fields[field] = (kind, Field(alias=column, description=meaning))
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


MeasurementRow = row_model("MeasurementRow", MEASUREMENTS)
RankRow = row_model("RankRow", RANKS)
DifferenceRow = row_model("DifferenceRow", DIFFERENCES)
AggregateRow = row_model("AggregateRow", AGGREGATES)
LabelEfficiencyRow = row_model("LabelEfficiencyRow", LABEL_EFFICIENCY)
ClaimRow = row_model("ClaimRow", CLAIMS)
LedgerRow = row_model("LedgerRow", LEDGER)


class CellEntry(BaseModel):
    """How one cell stands, and where its numbers come from."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    dataset: str
    method: str
    seed: int
    fraction: float | None
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

    schema_version: Literal[1] = Field(description="of this file")
    protocol: dict[str, Any] = Field(description="params.yaml, defaults included")
    datasets: dict[str, Card] = Field(description="data cards of the data sets that are prepared")
    unprepared: dict[str, str] = Field(description="why the other data sets are not")
    cells: list[CellEntry]
    measurements: list[MeasurementRow] = Field(description="every measurement over its seeds")  # type: ignore[valid-type]
    ranks: list[RankRow]  # type: ignore[valid-type]
    differences: list[DifferenceRow]  # type: ignore[valid-type]
    aggregates: list[AggregateRow]  # type: ignore[valid-type]
    label_efficiency: list[LabelEfficiencyRow]  # type: ignore[valid-type]
    claims: list[ClaimRow]  # type: ignore[valid-type]
    ledger: list[LedgerRow]  # type: ignore[valid-type]


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
            "ranks": records(analysis.ranks),
            "differences": records(analysis.differences),
            "aggregates": records(analysis.aggregates),
            "label_efficiency": records(analysis.label_efficiency),
            "claims": records(analysis.claims),
            "ledger": records(analysis.ledger),
        }
    )


def write_document(file: Path, document: ResultsDocument) -> None:
    """Write the document; equal content is equal bytes."""
    write_text(file, document.model_dump_json(by_alias=True) + "\n")


def read_document(file: Path) -> ResultsDocument:
    """Read a document of any version so far.

    Raises:
        UserError: it is missing, not JSON, of a version that this suite does not know, or does not fit it.
    """
    content = read_json(file)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != VERSION:
        raise UserError(
            f"{file} has schema version {version}; this version of the suite reads version {VERSION}. "
            "Write it anew with: bench report"
        )
    try:
        return ResultsDocument.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{file} does not fit schema version {version}: {error}") from None


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table with None in the place of what is missing."""
    plain = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def _measurements(summary: Summary) -> list[dict[str, Any]]:
    rows = []
    for name, row in summary.measured.items():
        interval = summary.intervals.get(name)
        numbers = {column: row[column] for column in ("mean", "lowest", "highest")}
        rows.append(
            dict(zip(MEASUREMENT, name, strict=True))
            | {column: None if pd.isna(value) else float(value) for column, value in numbers.items()}
            | {"found": int(row["found"]), "expected": int(row["expected"])}
            | {"low": interval.low if interval else None, "high": interval.high if interval else None}
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
                "fraction": cell.fraction,
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
