"""The worth of labels: areas and crossings by hand."""

import math

import numpy as np
import pytest

from bench.analysis.label_efficiency import label_efficiency, labels_to_reach, log_area
from bench.summary.draws import Comparison

FRACTIONS = (0.01, 0.1, 1.0)


def curve_of(plain_column, values, **changes):
    """Columns of one data set from (F, M) means of two equal seeds."""
    return [
        plain_column(
            np.repeat(np.asarray(own, dtype=float)[:, None], 2, axis=1),
            np.asarray(own, dtype=float)[:, None, None] + np.zeros((len(own), 2, 20)),
            Comparison("d", "finetune", fraction, None),
            **changes,
        )
        for fraction, own in zip(FRACTIONS, values, strict=True)
    ]


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
    curve = curve_of(plain_column, [[0.5, 0.5, 0.9], [0.6, 0.7, 0.9], [0.8, 0.79, 0.9]])
    table = label_efficiency(curve, ["m0", "m1", "m2"], "m0", {"d": 2000}, 0.95).set_index("method")
    assert table["reached"].to_dict() == {"m0": "yes", "m1": "not reached", "m2": "at the smallest"}
    assert table.loc["m0", "labels_needed"] == pytest.approx(1)
    assert np.isnan(table.loc["m1", "labels_needed"])
    assert table.loc["m1", "reached_share"] == 0
    assert table.loc["m2", "labels_saved"] == pytest.approx(0.99)
    assert table.loc["m2", "images_saved"] == 1980
    assert (table["target"] == 0.8).all()
    assert table.loc["m1", "area"] == pytest.approx((0.6 + 0.745) / 2)


def test_without_a_baseline_there_is_an_area_and_no_saving(plain_column):
    curve = curve_of(plain_column, [[0.5], [0.6], [0.8]])
    (row,) = label_efficiency(curve, ["m0"], None, {}, 0.95).to_dict("records")
    assert row["area"] == pytest.approx((0.55 + 0.7) / 2)
    assert np.isnan(row["labels_needed"])
    assert row["reached"] == ""
    assert "without pretraining" in row["reason"]


def test_a_hole_has_neither(plain_column):
    curve = curve_of(plain_column, [[0.5], [0.6], [0.8]], excluded={"m1": "seed 0 missing"})
    table = label_efficiency(curve, ["m0", "m1"], "m1", {}, 0.95).set_index("method")
    assert np.isnan(table.loc["m1", "area"])
    assert "1% of" not in table.loc["m1", "reason"]
    assert table.loc["m1", "reason"].startswith("0.01 of the labels: seed 0 missing")
    assert table.loc["m0", "reason"] == "no result of m1 with all labels to compare with"
