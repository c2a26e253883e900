"""Simulated columns and runs: predictions with a known skill, so that the truth is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from bench.cells.predictions import Predictions
from bench.protocol.cell import Cell, all_cells
from bench.protocol.label_columns import label_column
from bench.protocol.protocol import Protocol, ReportSettings, read_protocol
from bench.protocol.stage_specs import STAGES
from bench.summary.bootstrap import bootstrap
from bench.summary.draws import Comparison, ComparisonDraws
from bench.summary.read import CellState, Results
from bench.summary.summary import summarise
from bench.summary.tidy import tidy_table
from imssl.datasets.prepared import Card, SplitCounts
from imssl.settings.labels import LabelSet

DEMO = Path(bench.__file__).parent / "protocol" / "profiles" / "demo.yaml"
SAMPLES = 60
PLACE = Comparison("d", "finetune", LabelSet(0.1), None)


def settings_of(baseline="m0", level=0.95, least_seeds=3):
    """Settings of a report."""
    return ReportSettings(baseline=baseline, resamples=100, level=level, least_seeds=least_seeds)


def binary_predictions(scores, labels, patients):
    """Predictions whose AUROC is that of the scores."""
    positive = 1 / (1 + np.exp(-scores))
    return Predictions(
        ids=np.array([f"i{i}" for i in range(len(labels))]),
        patients=np.asarray(patients, dtype=str),
        labels=labels,
        probabilities=np.column_stack([1 - positive, positive]),
    )


@pytest.fixture
def make_column() -> Callable[..., ComparisonDraws]:
    """A column of AUROCs of M methods and S seeds from their scores, (M, S, N)."""

    def make(scores, labels, patients, resamples=200, place=PLACE):
        count, seeds, _ = scores.shape
        runs = [
            binary_predictions(scores[m, s], labels, patients) for m in range(count) for s in range(seeds)
        ]
        drawn = [
            bootstrap("binary", labels, run.probabilities, run.patients, "auroc", resamples, 0)
            for run in runs
        ]
        once = [
            bootstrap("binary", labels, run.probabilities, np.zeros(len(labels)), "auroc", 1, 0)
            for run in runs
        ]
        return ComparisonDraws(
            place=place,
            metric="auroc",
            seeds=tuple(range(seeds)),
            methods=tuple(f"m{m}" for m in range(count)),
            values=np.reshape(once, (count, seeds)),
            draws=np.reshape(drawn, (count, seeds, resamples)),
            unit="patients",
            units=np.unique(patients).size,
            excluded={},
        )

    return make


def plain_column(values, draws, place=PLACE, excluded=None, metric="auroc"):
    """A column from its numbers."""
    values, draws = np.asarray(values, dtype=float), np.asarray(draws, dtype=float)
    return ComparisonDraws(
        place=place,
        metric=metric,
        seeds=tuple(range(values.shape[1])),
        methods=tuple(f"m{m}" for m in range(len(values))),
        values=values,
        draws=draws,
        unit="patients",
        units=50,
        excluded=excluded or {},
    )


def card(dataset, synthetic=True, task="binary", metric="auroc"):
    classes = ["healthy", "ill"]
    counts = {
        split: SplitCounts(samples=count, patients=count // 2, per_class=dict.fromkeys(classes, count // 2))
        for split, count in {"train": 1000, "val": 40, "test": SAMPLES}.items()
    }
    return Card(
        name=dataset, synthetic=synthetic, task=task, classes=classes, primary_metric=metric,
        source="a source", description="Images.", url="", licence="CC0", citation="Nobody (2020)",
        image_shape=(8, 8, 1), has_patients=True, patients_note="", split_origin="drawn", counts=counts,
        skipped=[], channel_mean=[0.5], channel_std=[0.25], inputs={}, checksums={"images.npy": dataset},
    )  # fmt: skip


def protocol_of(datasets=("one", "two"), methods=None, seeds=(0, 1, 2), **changes) -> Protocol:
    demo = read_protocol(DEMO)
    histology = demo.datasets["phantom-histology"]
    methods = methods or list(demo.methods)
    return demo.model_copy(
        update={
            "datasets": dict.fromkeys(datasets, histology),
            "methods": {name: demo.methods.get(name, {"file": "moco.py"}) for name in methods},
            "seeds": list(seeds),
            "report": demo.report.model_copy(update={"resamples": 100}),
            "label_fractions": [0.01, 1.0],
            "labels_per_class": [],
            **changes,
        }
    )


def results_of(
    protocol: Protocol,
    skill: Callable[[Cell, int | None], float],
    holes: dict[Cell, str] | None = None,
    cka: Callable[[Cell, int], float] = lambda cell, block: 1 - block / 10,
    ks: Callable[[Cell], float] = lambda cell: 0.2,
    synthetic: bool = True,
) -> Results:
    """Results of a run whose binary predictions have a given skill: the distance between the classes."""
    holes = holes or {}
    states = {
        cell: CellState(holes[cell], "a reason") if cell in holes else CellState("done", "")
        for cell in all_cells(protocol)
    }
    predictions, rows = {}, {}
    labels = np.arange(SAMPLES) % 2
    patients = np.arange(SAMPLES) // 2
    for cell, state in states.items():
        if state.status != "done":
            continue
        for block in STAGES[cell.stage].predictions or {}:
            noise = np.random.default_rng([hash_of(cell.dataset), cell.seed]).normal(size=SAMPLES)
            own = np.random.default_rng([hash_of(f"{cell}{block}")]).normal(size=SAMPLES)
            scores = skill(cell, block) * labels + 0.9 * noise + 0.3 * own
            predictions[cell, block] = binary_predictions(scores, labels, patients)
        if cell.labels is not None:
            share = share_of(cell.labels)
            # Two validation images at the least; nearest neighbours have nothing to choose.
            validation = 0 if cell.stage == "knn" else max(2, round(40 * share))
            rows[cell] = [
                {"metric": "labelled_images", "value": round(1000 * share)},
                {"metric": "labelled_validation_images", "value": validation},
                {"metric": "labelled_share", "value": share},
            ]
        if cell.stage == "reuse":
            rows[cell] = [
                {**label_column(labels), "block": b, "metric": "cka_linear", "value": cka(cell, b)}
                for labels in protocol.label_sets
                for b in range(1, 5)
            ]
        if cell.stage == "ks":
            rows[cell] = [
                {**label_column(labels), "metric": "ks", "value": ks(cell)}
                for labels in protocol.label_sets[:-1]
            ]
    return Results(
        cards={dataset: card(dataset, synthetic) for dataset in protocol.datasets},
        unprepared={},
        states=states,
        table=tidy_table(rows, {cell: state.status for cell, state in states.items()}),
        predictions=predictions,
        histories={},
    )


def share_of(labels: LabelSet) -> float:
    """Of the 1,000 training images, two classes of them."""
    return labels.fraction if labels.per_class is None else 2 * labels.per_class / 1000


def hash_of(text: str) -> int:
    """The same in every process, unlike hash()."""
    return int.from_bytes(pd.util.hash_array(np.array([text], dtype=object)).tobytes()[:7], "little")


@pytest.fixture(name="plain_column")
def plain_column_fixture():
    return plain_column


@pytest.fixture(name="protocol_of")
def protocol_of_fixture():
    return protocol_of


@pytest.fixture(name="results_of")
def results_of_fixture():
    return results_of


@pytest.fixture(name="summary_of")
def summary_of_fixture(tmp_path, monkeypatch):
    """The summary of a simulated run, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda protocol, results: summarise(protocol, results)
