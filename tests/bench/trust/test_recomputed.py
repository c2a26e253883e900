"""What verify recomputes has the names and the values of what the stages store."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.cells.scores import score_rows
from bench.trust.verify.recomputed import scores

CLASSES = ["a", "b", "c"]


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass", "ordinal"])
@pytest.mark.parametrize("decimals", [None, 1])
def test_every_score_is_recomputed(task, decimals):
    draw = np.random.default_rng(0)
    classes = CLASSES[:2] if task == "binary" else CLASSES
    probabilities = draw.dirichlet(np.ones(len(classes)), 90)
    if task == "multilabel":
        labels = (draw.random((90, 3)) < [0.4, 0.1, 0.0]).astype(int)  # the last one never occurs
    else:
        labels = draw.integers(0, len(classes), 90)
    if decimals is not None:
        probabilities = probabilities.round(decimals)
    stored = score_rows(SimpleNamespace(task=task, classes=classes), labels, probabilities)
    recomputed = scores(task, labels, probabilities, classes)
    assert {(row.get("class", ""), row["metric"]) for row in stored} == set(recomputed)
    for row in stored:
        value = recomputed[row.get("class", ""), row["metric"]]
        assert row["value"] == (None if value is None else pytest.approx(value, abs=1e-9)), row
