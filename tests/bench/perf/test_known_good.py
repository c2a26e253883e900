"""The check against lightly runs, on images so few that only a crash or a wrong loss would show."""

import json

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("lightly")

from tests.known_good import agreement, main


def test_both_are_pretrained_on_the_same_images_and_compared(prepared_project, capsys):
    status = main(["--dataset", "chest", "--seeds", "0,1"])
    said = json.loads(capsys.readouterr().out)
    assert {kind: len(scores) for kind, scores in said["scores"].items()} == {"suite": 2, "lightly": 2}
    assert said["agrees"] is (status == 0)
    assert said["low"] <= said["difference"] <= said["high"]


def test_the_interval_is_that_of_a_paired_t_test():
    scores = {"suite": [0.80, 0.82, 0.79], "lightly": [0.78, 0.81, 0.80]}
    found = agreement(scores)
    test = stats.ttest_rel(scores["suite"], scores["lightly"]).confidence_interval(0.95)
    np.testing.assert_allclose((found.low, found.high), (test.low, test.high))
    assert found.agrees
    assert not agreement({"suite": [0.8, 0.81, 0.82], "lightly": [0.7, 0.71, 0.721]}).agrees
    assert not agreement({"suite": [0.8], "lightly": [0.8]}).agrees
