"""The worth of labels: areas and crossings by hand, and how often labels are said to be saved."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from bench.analysis.label_efficiency import (
    LabelsUsed,
    label_budgets,
    label_efficiency,
    validation_means,
)
from bench.protocol.cell import Cell
from bench.summary.draws import Comparison
from imssl.label_curve import labels_to_reach, log_area
from imssl.settings.labels import LabelSet
from tests.bench.made_up_results import settings_of
from tests.simulations.labels_saved import says_saved

FRACTIONS = (0.01, 0.1, 1.0)
ALL_LABELS = Comparison("d", "finetune", LabelSet(1.0), None)
# 1,000 training images, and their share of 100 validation images.
BUDGETS = {
    ("d", "finetune", LabelSet(fraction)): LabelsUsed(1000 * fraction, 100 * fraction)
    for fraction in FRACTIONS
}


def curve_of(plain_column, values, seeds=3, spread=0.0, **changes):
    """Columns of one data set from (F, M) means of seeds."""
    generator = np.random.default_rng(0)
    columns = []
    for fraction, means in zip(FRACTIONS, values, strict=True):
        runs = np.asarray(means, dtype=float)[:, None] + spread * generator.normal(size=(len(means), seeds))
        draws = runs[:, :, None] + np.zeros(20)
        columns.append(
            plain_column(runs, draws, Comparison("d", "finetune", LabelSet(fraction), None), **changes)
        )
    return columns


def test_area_is_the_mean_over_the_log_axis():
    # Two equal decades: (0.5 + 0.7) / 2 and (0.7 + 0.9) / 2.
    assert log_area(FRACTIONS, np.array([[0.5], [0.7], [0.9]]))[0] == pytest.approx((0.6 + 0.8) / 2)
    assert log_area([0.01, 0.1, 1], np.full((3, 2), 0.4)).tolist() == pytest.approx([0.4, 0.4])
    assert log_area([1.0], np.array([[0.8]]))[0] == 0.8


def test_crossing_is_linear_on_the_log_axis():
    curves = np.array([[0.5, 0.5, 0.8, 0.5], [0.7, 0.9, 0.7, 0.7], [0.9, 0.6, 0.9, 0.7]])
    needed = labels_to_reach(FRACTIONS, curves, np.array([0.8, 0.7, 0.75, 0.71]))
    assert needed[0] == pytest.approx(10**-0.5)
    # The first crossing counts, though the curve falls again.
    assert needed[1] == pytest.approx(10**-1.5)
    assert needed[2] == 0.01
    assert math.isnan(needed[3])


def test_table_says_what_is_saved(plain_column):
    curve = curve_of(plain_column, [[0.5, 0.5, 0.9, 0.6], [0.6, 0.7, 0.9, 0.7], [0.8, 0.79, 0.9, 0.9]])
    methods = ["m0", "m1", "m2", "m3"]
    table = label_efficiency(curve, methods, settings_of(), ["m0"], BUDGETS, {}).set_index("method")
    assert table["reached"].to_dict() == {"m0": "", "m1": "not reached", "m2": "at the smallest", "m3": "yes"}
    assert table.loc["m0", "reason"] == "a reference without pretraining"
    assert np.isnan(table.loc["m1", "labels_needed"])
    assert (table.loc["m1", "reached_share"], table.loc["m1", "labels_saved_low"]) == (0, 0)
    assert table["images_saved"].isna().to_dict() == {"m0": True, "m1": True, "m2": False, "m3": False}
    # All labels are 1,000 and 100, the fewest 10 and 1.
    assert table.loc["m2", ["labels_all", "labels_needed", "images_saved"]].tolist() == [1100, 11, 1089]
    # From 110 to 1,100 labels the metric rises from 0.7 to 0.9: halfway on the log axis it is 0.8.
    assert table.loc["m3", "labels_needed"] == pytest.approx(110 * 10**0.5)
    assert table.loc["m3", "labels_saved_low"] == pytest.approx(1 - 0.1 * 10**0.5)
    np.testing.assert_allclose(table.loc[methods[1:], "target"], 0.8)
    assert table.loc["m1", "area"] == pytest.approx((0.6 + 0.745) / 2)


@pytest.mark.parametrize(("on_validation", "stronger", "target"), [(0.75, "m1", 0.8), (0.85, "m0", 0.7)])
def test_the_stronger_of_two_references_on_validation_is_to_be_matched(
    plain_column, on_validation, stronger, target
):
    """On the test images m1 is the stronger one whatever validation says."""
    curve = curve_of(plain_column, [[0.5, 0.5, 0.6], [0.6, 0.6, 0.7], [0.7, 0.8, 0.9]])
    validation = {(ALL_LABELS, "m0"): on_validation, (ALL_LABELS, "m1"): 0.8}
    table = label_efficiency(curve, ["m0", "m1", "m2"], settings_of(), ["m0", "m1"], BUDGETS, validation)
    assert table.set_index("method").loc["m2", "reference"] == stronger
    assert table["target"].max() == pytest.approx(target)


def test_without_validation_nobody_is_the_stronger_of_two_references(plain_column):
    curve = curve_of(plain_column, [[0.5, 0.5, 0.6], [0.6, 0.6, 0.7], [0.7, 0.8, 0.9]])
    validation = {(ALL_LABELS, "m0"): 0.7}
    table = label_efficiency(curve, ["m2"], settings_of(), ["m0", "m1"], BUDGETS, validation)
    assert table["reason"].tolist() == ["no validation results by which the stronger of m0, m1 is told"]
    assert table["labels_saved"].isna().all()


def test_the_references_of_a_run_are_measured_on_validation(protocol_of, results_of, summary_of):
    protocol = protocol_of(datasets=["one"], methods=["random-init", "moco"])
    results = results_of(protocol, lambda cell, block: 1)
    values = {
        Cell("frozen", "one", "random-init", seed, LabelSet(1.0)): 0.6 + seed / 10 for seed in (0, 1, 2)
    }
    some = {Cell("finetune", "one", "random-init", seed, LabelSet(1.0)): 0.5 for seed in (0, 1)}
    means = validation_means(summary_of(protocol, replace(results, validation=values | some)))
    assert means == {(Comparison("one", "frozen", LabelSet(1.0), None), "random-init"): pytest.approx(0.7)}


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_save_nothing_beyond_doubt(plain_column, seeds):
    curve = curve_of(plain_column, [[0.5, 0.9], [0.6, 0.9], [0.8, 0.9]], seeds=seeds)
    (row,) = label_efficiency(curve, ["m1"], settings_of(), ["m0"], BUDGETS, {}).to_dict("records")
    assert row["reached"] == "at the smallest"
    assert math.isnan(row["labels_saved_low"])


def test_the_area_is_uncertain_over_seeds_too(plain_column):
    curve = curve_of(plain_column, [[0.5], [0.6], [0.8]], spread=0.05)
    (row,) = label_efficiency(curve, ["m0"], settings_of(), [], BUDGETS, {}).to_dict("records")
    assert row["area_high"] - row["area_low"] > 0.02


def test_a_method_like_the_reference_hardly_ever_saves_labels():
    """It was said of .43 of such methods that they save at least 30%; docs/statistics.md has longer runs."""
    trials = 300
    assert says_saved(0.0, seeds=3, trials=trials) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / trials)
    assert says_saved(0.1, seeds=3, trials=50) > 0.8


def test_budgets_are_the_labels_that_were_drawn(protocol_of, results_of, summary_of):
    protocol = protocol_of(datasets=["one"], methods=["moco"])
    budgets = label_budgets(summary_of(protocol, results_of(protocol, lambda cell, block: 1)))
    assert budgets["one", "finetune", LabelSet(0.01)] == LabelsUsed(10, 2)
    assert budgets["one", "frozen", LabelSet(1.0)].total == 1040
    assert budgets["one", "knn", LabelSet(1.0)].total == 1000  # nothing is chosen


def test_without_a_reference_there_is_an_area_and_no_saving(plain_column):
    curve = curve_of(plain_column, [[0.5], [0.6], [0.8]])
    (row,) = label_efficiency(curve, ["m0"], settings_of(), [], BUDGETS, {}).to_dict("records")
    assert row["area"] == pytest.approx((0.55 + 0.7) / 2)
    assert np.isnan(row["labels_needed"])
    assert row["reached"] == ""
    assert "without pretraining" in row["reason"]


def test_a_hole_has_neither(plain_column):
    curve = curve_of(plain_column, [[0.5], [0.6], [0.8]], excluded={"m1": "seed 0 missing"})
    table = label_efficiency(curve, ["m0", "m1"], settings_of(), ["m1"], BUDGETS, {}).set_index("method")
    assert np.isnan(table.loc["m1", "area"])
    assert table.loc["m1", "reason"].startswith("1% of the labels: seed 0 missing")
    assert table.loc["m0", "reason"] == "no result of m1 to compare with"
    unknown = label_efficiency(curve, ["m0"], settings_of(), [], {}, {})
    assert unknown["reason"].tolist() == ["labels drawn are not recorded"]


def test_k_shot_lies_on_the_curve_where_its_labels_are(plain_column):
    """Ten labels per class are 40 images here: between 1% and 10%, and they change the area accordingly."""
    shares = curve_of(plain_column, [[0.5, 0.5], [0.6, 0.6], [0.7, 0.8]])
    runs = np.array([[0.5, 0.5, 0.5], [0.68, 0.68, 0.68]])
    ten = LabelSet(per_class=10)
    k_shot = plain_column(runs, runs[:, :, None] + np.zeros(20), Comparison("d", "finetune", ten, None))
    budgets = BUDGETS | {("d", "finetune", ten): LabelsUsed(40, 4)}
    table = label_efficiency([k_shot, *shares], ["m0", "m1"], settings_of(), ["m0"], budgets, {})
    row = table.set_index("method").loc["m1"]
    curve = [(10, 0.5), (40, 0.68), (100, 0.6), (1000, 0.8)]
    pieces = [(np.log(b / a), (x + y) / 2) for (a, x), (b, y) in pairwise(curve)]
    assert row["area"] == pytest.approx(sum(w * h for w, h in pieces) / np.log(100))
    # The reference has 0.7 with all labels, which the method reaches between 110 and 1,100 of them.
    assert row["labels_needed"] == pytest.approx(110 * 10**0.5)
