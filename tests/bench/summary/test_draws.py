"""Columns of the leaderboard: values and draws against scikit-learn, holes, other samples, the cache."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from bench.protocol.cell import Cell
from bench.summary.bootstrap import resample_counts
from bench.summary.draws import Comparison, draw_comparisons, places
from bench.summary.patient_pairs import PatientPairs
from imssl.seeds import derived_seed
from imssl.settings.labels import LabelSet


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_values_and_draws_are_those_of_scikit_learn(protocol_of, results_of):
    protocol = protocol_of(datasets=["one"], methods=["moco", "moco-mse"])
    results = results_of(protocol, lambda cell, block: 1)
    column = draw_comparisons(protocol, results)[Comparison("one", "finetune", LabelSet(0.01), None)]
    assert (column.methods, column.unit, column.units) == (("moco", "moco-mse"), "patients", 30)
    runs = [
        results.predictions[Cell("finetune", "one", "moco-mse", seed, LabelSet(0.01)), None]
        for seed in (0, 1, 2)
    ]
    expected = [roc_auc_score(run.labels, run.probabilities[:, 1]) for run in runs]
    np.testing.assert_allclose(column.values[1], expected, rtol=1e-12)
    seed = derived_seed(0, "bootstrap", "one")
    counts = np.concatenate(list(resample_counts(runs[0].patients, 100, seed)))
    averages = []
    for r in range(100):
        index = np.repeat(np.arange(60), counts[r])
        aurocs = [roc_auc_score(run.labels[index], run.probabilities[index, 1]) for run in runs]
        np.testing.assert_allclose(column.draws[1, :, r], aurocs, rtol=1e-12)
        averages.append(np.mean(aurocs))
    interval = column.interval("moco-mse", 0.9)
    parts = np.var(averages, ddof=1), np.var(expected, ddof=1) / 3
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 29 + parts[1] ** 2 / 2)
    half = stats.t.ppf(0.95, freedom) * np.sqrt(sum(parts))
    ends = np.mean(expected) - half, np.mean(expected) + half
    np.testing.assert_allclose([interval.low, interval.high], np.minimum(ends, 1), rtol=1e-9)
    assert interval.value == pytest.approx(np.mean(expected))
    assert (interval.unit, interval.units, interval.undefined) == ("patients", 30, 0)


def test_an_ordinal_task_is_judged_by_kappa(protocol_of, results_of):
    protocol = protocol_of(datasets=["one"], methods=["moco"], seeds=[0])
    results = results_of(protocol, lambda cell, block: 2)
    card = results.cards["one"].model_copy(update={"task": "ordinal", "primary_metric": "qwk"})
    results.cards["one"] = card
    column = draw_comparisons(protocol, results)[Comparison("one", "probe", None, 2)]
    run = results.predictions[Cell("probe", "one", "moco", 0), 2]
    expected = cohen_kappa_score(run.labels, run.probabilities.argmax(axis=1), weights="quadratic")
    assert (column.metric, column.values[0, 0]) == ("qwk", pytest.approx(expected))


def test_every_place_of_the_protocol_has_a_column(protocol_of, results_of):
    protocol = protocol_of()
    results = results_of(protocol, lambda cell, block: 1)
    expected = [place for dataset in protocol.datasets for place in places(protocol, dataset)]
    assert list(draw_comparisons(protocol, results)) == expected
    assert len(expected) == 2 * (3 * 2 + 4)  # three evaluations by fraction, and four blocks


def test_a_method_with_a_hole_is_left_out_with_its_reason(protocol_of, results_of):
    protocol = protocol_of(datasets=["one"])
    failed = Cell("frozen", "one", "moco", 1, LabelSet(1.0))
    holes = {failed: "failed", **{Cell("probe", "one", name, 0): "missing" for name in protocol.methods}}
    columns = draw_comparisons(protocol, results_of(protocol, lambda cell, block: 1, holes))
    column = columns[Comparison("one", "frozen", LabelSet(1.0), None)]
    assert column.excluded == {"moco": "seed 1 failed"}
    assert column.methods == ("random-init", "random-init-filled", "moco-mse", "moco-barlow")
    assert column.row("moco") is None
    empty = columns[Comparison("one", "probe", None, 3)]
    assert (empty.methods, empty.draws.shape) == ((), (0, 3, 100))
    assert set(empty.excluded.values()) == {"seed 0 missing"}
    assert columns[Comparison("one", "finetune", LabelSet(1.0), None)].excluded == {}


def test_a_data_set_that_is_not_prepared_has_empty_columns(protocol_of, results_of):
    protocol = protocol_of()
    holes = {cell: "missing" for cell in results_of(protocol, lambda *_: 1).states if cell.dataset == "two"}
    results = results_of(protocol, lambda cell, block: 1, holes)
    del results.cards["two"]
    columns = draw_comparisons(protocol, results)
    column = columns[Comparison("two", "finetune", LabelSet(0.01), None)]
    assert (column.metric, column.methods, column.units) == ("", (), 0)
    assert columns[Comparison("one", "finetune", LabelSet(0.01), None)].methods == tuple(protocol.methods)


def test_predictions_on_other_samples_are_never_compared(protocol_of, results_of):
    protocol = protocol_of(datasets=["one"], methods=["moco", "moco-mse"], seeds=[0])
    results = results_of(protocol, lambda cell, block: 1)
    odd = (Cell("finetune", "one", "moco-mse", 0, LabelSet(0.01)), None)
    run = results.predictions[odd]
    results.predictions[odd] = run.model_copy(update={"ids": run.ids[::-1]})
    column = draw_comparisons(protocol, results)[Comparison("one", "finetune", LabelSet(0.01), None)]
    assert column.excluded == {"moco-mse": "tested on other samples than the rest"}


def test_a_metric_that_is_undefined_is_a_hole(protocol_of, results_of):
    protocol = protocol_of(datasets=["one"], methods=["moco"], seeds=[0])
    results = results_of(protocol, lambda cell, block: 1)
    for key, run in results.predictions.items():
        results.predictions[key] = run.model_copy(update={"labels": np.ones_like(run.labels)})
    column = draw_comparisons(protocol, results)[Comparison("one", "finetune", LabelSet(0.01), None)]
    assert column.excluded == {"moco": "the metric is undefined on these test images"}


def test_draws_are_kept_and_found_by_content(protocol_of, results_of, tmp_path, monkeypatch):
    protocol = protocol_of(datasets=["one"], methods=["moco", "moco-mse"], seeds=[0])
    results = results_of(protocol, lambda cell, block: 1)
    first = draw_comparisons(protocol, results)
    assert len(list(tmp_path.glob(".bench/draws/*.npz"))) == 2
    computed = []
    real = PatientPairs.mean_aurocs
    monkeypatch.setattr(
        PatientPairs, "mean_aurocs", lambda own, runs: computed.extend(runs) or real(own, runs)
    )
    again = draw_comparisons(protocol, results)
    assert computed == []
    for place, column in first.items():
        np.testing.assert_array_equal(again[place].draws, column.draws)
    changed = (Cell("finetune", "one", "moco", 0, LabelSet(0.01)), None)
    run = results.predictions[changed]
    results.predictions[changed] = run.model_copy(update={"probabilities": run.probabilities[:, ::-1]})
    third = draw_comparisons(protocol, results)
    # One method's runs are kept together: 2 fractions in three evaluations and 4 blocks.
    assert len(computed) == 10
    place = Comparison("one", "finetune", LabelSet(0.01), None)
    assert third[place].values[0, 0] == pytest.approx(1 - first[place].values[0, 0])


def test_a_damaged_file_of_the_cache_is_computed_again(protocol_of, results_of, tmp_path):
    protocol = protocol_of(datasets=["one"], methods=["moco"], seeds=[0])
    results = results_of(protocol, lambda cell, block: 1)
    first = draw_comparisons(protocol, results)
    (file,) = tmp_path.glob(".bench/draws/*.npz")
    whole = file.read_bytes()
    for damaged in (b"", whole[:100], whole[:-50], b"PK nonsense"):
        file.write_bytes(damaged)
        again = draw_comparisons(protocol, results)
        np.testing.assert_array_equal(
            again[Comparison("one", "probe", None, 4)].draws, first[Comparison("one", "probe", None, 4)].draws
        )
        assert file.read_bytes() == whole
