"""The primary metric by subgroup: against scikit-learn and a bootstrap written out, and what is too small."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.analysis.analyse import analyse
from bench.analysis.subgroups import LEAST_PATIENTS, _PatientDraws, subgroup_rows, subgroup_tables
from bench.protocol.cell import Cell
from bench.report.tables.comparisons import Scope
from bench.report.tables.subgroups import subgroup_tables as shown_tables
from bench.report.view import view_of
from bench.summary.bootstrap import bootstrap_seed, resample_counts
from imssl.settings.labels import LabelSet
from tests.bench.made_up_results import SAMPLES


@pytest.fixture
def attributes():
    """Sex by patient, view by image, and a scanner that has seen few patients."""
    patients = np.arange(SAMPLES) // 2
    few = np.where(patients < LEAST_PATIENTS - 1, "old", "new")
    return pd.DataFrame(
        {
            "sex": np.where(patients % 2, "F", "M"),
            "view": np.where(np.arange(SAMPLES) % 3, "PA", "AP"),
            "scanner": few,
        },
        index=[f"i{i}" for i in range(SAMPLES)],
    )


@pytest.fixture
def summary(protocol_of, results_of, summary_of, attributes):
    protocol = protocol_of(datasets=["one"], methods=["random-init", "moco"], seeds=[0, 1, 2])
    results = results_of(protocol, lambda cell, block: 1.0 if cell.method == "moco" else 0.3)
    (ids,) = {tuple(run.ids) for run in results.predictions.values()}
    table = attributes.set_axis(list(ids))
    return summary_of(protocol, dataclasses.replace(results, attributes={"one": table}))


def tables_of(summary):
    return subgroup_tables(subgroup_rows(summary, dataset) for dataset in summary.results.attributes)


def runs_of(summary, stage, method):
    cells = [Cell(stage, "one", method, seed, LabelSet(1.0)) for seed in summary.protocol.seeds]
    return [summary.results.predictions[cell, None] for cell in cells]


def test_the_value_is_scikit_learns_on_the_rows_of_the_subgroup(summary, attributes):
    table = tables_of(summary)["subgroups"]
    assert set(table["evaluation"]) == {"finetune", "frozen", "knn"}
    for row in table[table["reason"] == ""].to_dict("records"):
        rows = (attributes[row["attribute"]] == row["subgroup"]).to_numpy()
        runs = runs_of(summary, row["evaluation"], row["method"])
        expected = np.mean([roc_auc_score(run.labels[rows], run.probabilities[rows, 1]) for run in runs])
        assert row["value"] == pytest.approx(expected, rel=1e-12)
        assert (row["images"], row["patients"]) == (rows.sum(), len(set(runs[0].patients[rows])))
        assert row["low"] < row["value"] < row["high"]


def test_the_intervals_are_those_of_a_bootstrap_of_patients(summary, attributes):
    """By another generator, drawing patients one by one; 400 resamples against the suite's 100."""
    tables = tables_of(summary)
    chosen = (tables["subgroups"]["method"] == "moco") & (tables["subgroups"]["evaluation"] == "knn")
    by_view = tables["subgroups"][chosen & (tables["subgroups"]["attribute"] == "view")].set_index("subgroup")
    runs, generator = runs_of(summary, "knn", "moco"), np.random.default_rng(5)
    views, patients = attributes["view"].to_numpy(), runs[0].patients
    values, gaps = {"PA": [], "AP": []}, []
    for _ in range(400):
        names = generator.choice(np.unique(patients), len(set(patients)))
        drawn = np.concatenate([np.flatnonzero(patients == name) for name in names])
        for view, of_view in values.items():
            rows = drawn[views[drawn] == view]
            aurocs = [roc_auc_score(run.labels[rows], run.probabilities[rows, 1]) for run in runs]
            of_view.append(np.mean(aurocs))
        gaps.append(values["PA"][-1] - values["AP"][-1])
    for view, of_view in values.items():
        low, high = np.quantile(of_view, [0.025, 0.975])
        width = high - low
        assert by_view.loc[view, "low"] == pytest.approx(low, abs=0.35 * width)
        assert by_view.loc[view, "high"] == pytest.approx(high, abs=0.35 * width)
    gaps_by_place = tables["subgroup_gaps"].set_index(["method", "evaluation", "attribute"])
    row = gaps_by_place.loc["moco", "knn", "view"]
    sign = 1 if row["highest"] == "PA" else -1
    low, high = np.quantile(sign * np.array(gaps), [0.025, 0.975])
    assert row["gap"] == pytest.approx(abs(by_view.loc["PA", "value"] - by_view.loc["AP", "value"]))
    assert row["high"] - row["low"] == pytest.approx(high - low, rel=0.35)


def test_draws_of_patients_are_those_of_their_samples(summary):
    """Of any rows, in whatever chunks: the resamples that every other number of the data set has."""
    (run, *_) = runs_of(summary, "knn", "moco")
    card, patients = summary.results.cards["one"], run.patients
    whole = np.concatenate(list(resample_counts(patients, 100, bootstrap_seed(card.name))))
    draws = _PatientDraws(card, 100)
    for rows in (np.arange(0, SAMPLES, 3), np.arange(5)):
        np.testing.assert_array_equal(np.concatenate(list(draws.counts(patients, rows))), whole[:, rows])


def test_small_subgroups_are_listed_as_too_small(summary):
    tables = tables_of(summary)
    old = tables["subgroups"][tables["subgroups"]["subgroup"] == "old"]
    assert len(old) == 3 * 2
    assert old["value"].isna().all()
    assert set(old["reason"]) == {f"too small: fewer than {LEAST_PATIENTS} patients"}
    gaps = tables["subgroup_gaps"].set_index("attribute")
    assert set(gaps.loc["scanner", "reason"]) == {"fewer than two subgroups are large enough"}
    assert set(gaps.loc["sex", "reason"]) == {""}


def test_a_subgroup_with_one_class_has_no_value(summary):
    (run, *_) = runs_of(summary, "finetune", "moco")
    by_class = pd.DataFrame({"diagnosis": np.where(run.labels == 1, "ill", "healthy")}, index=run.ids)
    results = dataclasses.replace(summary.results, attributes={"one": by_class})
    table = tables_of(dataclasses.replace(summary, results=results))["subgroups"]
    assert len(table) == 3 * 2 * 2
    assert all("one class only" in reason for reason in table["reason"])


def test_a_method_with_a_hole_is_left_out_and_runs_without_attributes_have_no_rows(summary):
    predictions = {
        key: run
        for key, run in summary.results.predictions.items()
        if key[0] != Cell("finetune", "one", "moco", 1, LabelSet(1.0))
    }
    results = dataclasses.replace(summary.results, predictions=predictions)
    table = tables_of(dataclasses.replace(summary, results=results))["subgroups"]
    fine = table[table["evaluation"] == "finetune"]
    assert set(fine["method"]) == {"random-init"}
    none = dataclasses.replace(summary, results=dataclasses.replace(summary.results, attributes={}))
    assert all(len(table) == 0 for table in tables_of(none).values())


@pytest.mark.parametrize("what", ["labels", "patients"])
def test_a_run_on_other_labels_or_patients_is_left_out(summary, what):
    """Draws are kept by the labels of the first seed, so other ones would pass for them."""
    cell = Cell("finetune", "one", "moco", 1, LabelSet(1.0))
    run = summary.results.predictions[cell, None]
    other = run.model_copy(update={what: getattr(run, what)[::-1]})
    predictions = {**summary.results.predictions, (cell, None): other}
    results = dataclasses.replace(summary.results, predictions=predictions)
    table = tables_of(dataclasses.replace(summary, results=results))["subgroups"]
    assert set(table[table["evaluation"] == "finetune"]["method"]) == {"random-init"}
    assert set(table[table["evaluation"] == "knn"]["method"]) == {"random-init", "moco"}


def test_the_page_shows_them_with_their_gap(summary):
    tables = shown_tables(Scope(view_of(summary, analyse(summary)), ("one",), "../"))
    assert [table.id for table in tables[:3]] == [
        "subgroups-finetune-one-sex",
        "subgroups-finetune-one-view",
        "subgroups-finetune-one-scanner",
    ]
    by_sex, _, by_scanner = tables[:3]
    assert [column.label for column in by_sex.columns] == ["F", "M", "largest gap"]
    assert by_sex.columns[0].small == f"{SAMPLES // 4} patients, {SAMPLES // 2} images"
    assert [row.label for row in by_sex.rows] == ["moco", "random-init"]
    assert by_sex.rows[0].entries[-1].small[-1] in ("F over M", "M over F")
    assert "too small" in [entry.text for entry in by_scanner.rows[0].entries]
