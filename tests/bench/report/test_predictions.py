"""What the pages say of stored predictions beside the primary metric, against scikit-learn."""

import dataclasses
import re

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_curve

from bench.analysis.analyse import analyse
from bench.cells.scores import score_rows
from bench.protocol.cell import Cell
from bench.report.layout import number
from bench.report.material.reliability_diagrams import reliability_diagrams
from bench.report.tables.comparisons import Scope
from bench.report.tables.other_metrics import class_precision_tables, other_metric_tables
from bench.report.view import view_of
from bench.summary.read import read_results
from bench.summary.summary import summarise
from bench.summary.tidy import tidy_table
from imssl.settings.labels import LabelSet
from tests.bench.report.reading import charts_of, table_of
from tests.bench.small_run import CHEST, FUNDUS, card, labels_of, probabilities_of, small_protocol

# Of these classes there are test images with and without; of the third there are none.
JUDGED = (0, 1)
ALL_LABELS = [Cell("finetune", CHEST, "moco", seed, LabelSet(1.0)) for seed in (0, 1)]


@pytest.fixture(scope="module")
def chest_page(run):
    return (run / "reports" / "datasets" / f"{CHEST}.html").read_text(encoding="utf-8")


@pytest.fixture
def summary(run, monkeypatch):
    monkeypatch.chdir(run)
    return summarise(small_protocol(), read_results(small_protocol()))


def row_of(table, method):
    (row,) = re.findall(rf'<tr data-method="{method}">.*?</tr>', table, re.DOTALL)
    return row


def test_average_precision_stands_beside_what_chance_would_get(page):
    labels = labels_of(CHEST)
    macro = [
        np.mean([average_precision_score(labels[:, c], probabilities_of(cell)[:, c]) for c in JUDGED])
        for cell in ALL_LABELS
    ]
    table = table_of(page, "finetune-macro-average-precision")
    assert f">{number(np.mean(macro))}<" in row_of(table, "moco")
    chance = number(labels[:, JUDGED].mean())
    assert f"<small>macro average precision, {chance} by chance</small>" in table


def test_the_page_of_a_data_set_has_average_precision_by_class_with_its_prevalence(chest_page):
    labels, table = labels_of(CHEST), table_of(chest_page, "finetune-class-average-precision")
    column = card(CHEST).classes.index("nodule")
    (of_class,) = re.findall(r"<span>nodule, prevalence .*?</tbody>", table, re.DOTALL)
    assert of_class.startswith(f"<span>nodule, prevalence {number(labels[:, column].mean())}<")
    mean = np.mean(
        [average_precision_score(labels[:, column], probabilities_of(cell)[:, column]) for cell in ALL_LABELS]
    )
    assert f">{number(mean)}<" in row_of(of_class, "moco")
    (never_seen,) = re.findall(r"<span>never seen, prevalence 0\.000<.*?</tbody>", table, re.DOTALL)
    assert ">undefined<" in row_of(never_seen, "random-init")


def test_calibration_is_told_with_its_direction_and_its_bins(page):
    labels = labels_of(CHEST)
    brier = [
        np.mean([brier_score_loss(labels[:, c], probabilities_of(cell)[:, c]) for c in range(3)])
        for cell in ALL_LABELS
    ]
    table = table_of(page, "finetune-brier-score")
    assert f">{number(np.mean(brier))}<" in row_of(table, "moco")
    for metric, is_lower_better in {"brier-score": 4, "calibration-error": 4, "accuracy": 0}.items():
        assert table_of(page, f"finetune-{metric}").count("data-lower-is-better") == is_lower_better
    note = page.split('<table id="finetune-calibration-error"')[1].split("</p>")[0]
    assert "Lower is better. " in note
    assert "at most 15 bins of equal mass" in note


def test_a_binary_task_has_sensitivity_and_one_average_precision(protocol_of, results_of, summary_of):
    protocol = protocol_of(datasets=["one"], methods=["random-init", "moco"])
    results = results_of(protocol, lambda cell, block: 1.0)
    (owner,) = results.cards.values()
    judged = {
        cell: score_rows(owner, run.labels, run.probabilities)
        for (cell, block), run in results.predictions.items()
        if block is None
    }
    statuses = {cell: state.status for cell, state in results.states.items()}
    summary = summary_of(protocol, dataclasses.replace(results, table=tidy_table(judged, statuses)))
    scope = Scope(view_of(summary, analyse(summary)), ("one",), "")
    tables = {table.metric: table for table in other_metric_tables(scope, "finetune")}
    assert {"average_precision", "sensitivity_at_90_specificity", "brier_score"} <= tables.keys()
    assert not {"macro_average_precision", "qwk"} & tables.keys()
    assert class_precision_tables(scope, "finetune") == []
    assert tables["average_precision"].columns[0].group_small == "average precision, 0.500 by chance"
    sensitivities = []
    for seed in protocol.seeds:
        run = results.predictions[Cell("finetune", "one", "moco", seed, LabelSet(1.0)), None]
        alarms, hits, _ = roc_curve(run.labels, run.probabilities[:, 1], drop_intermediate=False)
        sensitivities.append(hits[alarms <= 0.1 + 1e-9].max())
    rows = {row.label: row for row in tables["sensitivity_at_90_specificity"].rows}
    assert rows["moco"].entries[-1].text == number(np.mean(sensitivities))


@pytest.mark.parametrize("stage", ["finetune", "frozen", "knn"])
def test_reliability_pools_the_seeds_and_equals_scikit_learns_quantile_bins(chest_page, summary, stage):
    cells = [dataclasses.replace(cell, stage=stage) for cell in ALL_LABELS]
    happened = np.concatenate([labels_of(CHEST).ravel() for _ in cells])
    predicted = np.concatenate([probabilities_of(cell).ravel() for cell in cells])
    frequency, confidence = calibration_curve(happened, predicted, n_bins=15, strategy="quantile")
    diagram = reliability_diagrams(summary, CHEST, stage, ["moco"])["moco"]
    np.testing.assert_allclose(diagram.frequency, frequency, rtol=1e-12)
    np.testing.assert_allclose(diagram.confidence, confidence, rtol=1e-12)
    words, spec = charts_of(chest_page)[f"reliability-{stage}-{CHEST}"]
    (record,) = [own for own in spec["data"]["values"] if own["method"] == "moco"]
    np.testing.assert_allclose(record["came_true"], frequency, atol=5e-5)
    assert "predictions of all seeds pooled" in words
    row = row_of(table_of(chest_page, f"t-reliability-{stage}-{CHEST}"), "moco")
    assert f">{number(frequency[4])}<small>predicted {number(confidence[4])}</small>" in row


def test_reliability_of_exclusive_classes_is_that_of_the_predicted_class(summary):
    cells = [Cell("finetune", FUNDUS, "moco", seed, LabelSet(1.0)) for seed in (0, 1)]
    probabilities = np.concatenate([probabilities_of(cell) for cell in cells])
    is_right = probabilities.argmax(axis=1) == np.concatenate([labels_of(FUNDUS)] * 2)
    frequency, _ = calibration_curve(is_right, probabilities.max(axis=1), n_bins=15, strategy="quantile")
    diagram = reliability_diagrams(summary, FUNDUS, "finetune", ["moco"])["moco"]
    np.testing.assert_allclose(diagram.frequency, frequency, rtol=1e-12)
    assert diagram.samples.sum() == 80


def test_reliability_is_not_pooled_over_a_hole(summary):
    predictions = {key: run for key, run in summary.results.predictions.items() if key[0] != ALL_LABELS[1]}
    lacking = dataclasses.replace(
        summary, results=dataclasses.replace(summary.results, predictions=predictions)
    )
    assert list(reliability_diagrams(lacking, CHEST, "finetune", ["random-init", "moco"])) == ["random-init"]


def test_cka_shows_its_interval_over_patients(chest_page):
    # The ends lie .06 below and .04 above a value of .895 and .905 for the two seeds.
    table = table_of(chest_page, f"t-cka-linear-{CHEST}")
    assert "<small>patients 0.840–0.940</small>" in row_of(table.split("Block 2")[0], "moco")
    _, spec = charts_of(chest_page)[f"cka-linear-{CHEST}-0_1"]
    (record,) = [own for own in spec["data"]["values"] if own["method"] == "moco" and own["block"] == 1]
    assert (record["low"], record["high"]) == pytest.approx((0.84, 0.94))
    assert "patients 0.840–0.940" in record["says"]
