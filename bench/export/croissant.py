"""Croissant metadata of a run's results: what results.csv holds, for machines (MLCommons Croissant 1.1)."""

import hashlib
from collections.abc import Mapping
from typing import Any

import mlcroissant

from bench.protocol.protocol import Protocol
from bench.report.answer.run_facts import suite_version
from bench.report.layout import listed
from bench.summary.tidy import COLUMNS

NAME = "croissant.json"
TABLE, DOCUMENT = "reports/results.csv", "reports/results.json"
INTEGERS, NUMBERS = {"seed", "labels_per_class", "block"}, {"fraction", "value"}


def croissant(protocol: Protocol, files: Mapping[str, bytes], made: str) -> dict[str, Any]:
    """The metadata as JSON-LD.

    Args:
        protocol: of the run.
        files: content by name in the archive; results.csv and results.json are among them.
        made: when the latest cell was computed, ISO 8601; the results are as old as that.

    Raises:
        ValidationError: of mlcroissant; a value is not what Croissant allows.
    """
    metadata = mlcroissant.Metadata(
        name=f"imssl-bench-{protocol.profile}",
        description=(
            f"Results of {listed(list(protocol.methods))} on {listed(list(protocol.datasets))}, with "
            f"{len(protocol.seeds)} seeds: every number that imssl-bench has measured, a row for each cell "
            "and metric. No images and no labels of patients are in it."
        ),
        date_published=made,
        version=suite_version(),
        cite_as="Kaku, Upadhya, Razavian. Intermediate Layers Matter in Momentum Contrastive Self Supervised "
        "Learning. NeurIPS 2021.",
        distribution=[
            _file("results-csv", TABLE, mlcroissant.EncodingFormat.CSV, files),
            _file("results-json", DOCUMENT, mlcroissant.EncodingFormat.JSON, files),
        ],
        record_sets=[
            mlcroissant.RecordSet(
                id="results",
                name="results",
                description="One row per cell and metric.",
                fields=[_field(column, meaning) for column, meaning in COLUMNS.items()],
            )
        ],
    )
    return dict(metadata.to_json())


def _file(name: str, path: str, kind: str, files: Mapping[str, bytes]) -> mlcroissant.FileObject:
    return mlcroissant.FileObject(
        id=name,
        name=name,
        content_url=path,
        encoding_formats=[kind],
        sha256=hashlib.sha256(files[path]).hexdigest(),
    )


def _field(column: str, meaning: str) -> mlcroissant.Field:
    kind = mlcroissant.DataType.TEXT
    if column in INTEGERS:
        kind = mlcroissant.DataType.INTEGER
    elif column in NUMBERS:
        kind = mlcroissant.DataType.FLOAT
    return mlcroissant.Field(
        id=f"results/{column}",
        name=f"results/{column}",
        description=meaning,
        data_types=[kind],
        source=mlcroissant.Source(file_object="results-csv", extract=mlcroissant.Extract(column=column)),
    )
