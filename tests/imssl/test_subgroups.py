"""Subgroups by text, by codes, by ranges of a number, and by ages as DICOM writes them; against pandas."""

import numpy as np
import pandas as pd
import pytest

from imssl.subgroups import NOT_GIVEN, subgroups_of


def sizes(groups):
    return {group.name: len(group.rows) for group in groups}


def test_text_makes_a_subgroup_of_each_value_and_the_missing_come_last():
    groups = subgroups_of("sex", ["M", "F", "", "F ", "  ", "M", "F"])
    assert [group.name for group in groups] == ["F", "M", NOT_GIVEN]
    assert [group.rows.tolist() for group in groups] == [[1, 3, 6], [0, 5], [2, 4]]


def test_a_number_is_cut_at_its_quartiles_as_pandas_cuts_it():
    ages = np.random.default_rng(0).integers(18, 90, size=203)
    groups = subgroups_of("age", [str(age) for age in ages])
    expected = pd.qcut(ages, 4)
    assert [len(group.rows) for group in groups] == expected.value_counts().tolist()
    for group, category in zip(groups, expected.categories, strict=True):
        np.testing.assert_array_equal(group.rows, np.flatnonzero(expected == category))
    first, *_, last = np.quantile(ages, [0.25, 0.5, 0.75])
    assert (groups[0].name, groups[-1].name) == (f"age up to {first:g}", f"age above {last:g}")


def test_few_numbers_are_a_code():
    assert sizes(subgroups_of("followup", ["10", "2", "2", "0", "10"])) == {"0": 1, "2": 2, "10": 2}


def test_ages_of_dicom_are_years():
    texts = [f"{age:03d}Y" for age in range(20, 60)] + ["006M", "008W", "010D"]
    in_years = [*map(float, range(20, 60)), 0.5, 56 / 365.25, 10 / 365.25]
    groups = subgroups_of("age", texts)
    assert [len(group.rows) for group in groups] == pd.qcut(in_years, 4).value_counts().tolist()
    assert set(groups[0].rows.tolist()) >= {40, 41, 42}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["", " "], [NOT_GIVEN]),
        (["7"] * 20 + ["1", "2", "3", "4", "5", "6", "8"], ["age up to 7", "age above 7"]),
        (["1", "nan", "2"], ["1", "2", "nan"]),
        (["12", "about 50"], ["12", "about 50"]),
    ],
)
def test_odd_values_are_in_one_subgroup_each(values, names):
    groups = subgroups_of("age", values)
    assert [group.name for group in groups] == names
    rows = np.concatenate([group.rows for group in groups])
    assert sorted(rows.tolist()) == list(range(len(values)))
