"""Statistics over cells: means without holes, the best of a comparison."""

import numpy as np
import pandas as pd
import pytest

from bench.summary.over_seeds import curve_means, over_seeds, undefined_classes


def tidy(rows):
    columns = ["method", "seed", "fraction", "block", "class", "metric", "value"]
    constant = {"dataset": "chest", "evaluation": "finetune", "labels_per_class": pd.NA}
    table = pd.DataFrame(rows, columns=columns).assign(**constant)
    return table.astype({"fraction": float, "block": "Int64", "value": float})


def test_over_seeds_is_the_plain_mean_and_range():
    values = {"moco": [0.5, 0.7, 0.9], "mse": [0.2, 0.1, 0.6]}
    rows = [(m, s, 0.1, None, "", "auroc", values[m][s]) for s in range(3) for m in values]
    summary = over_seeds(tidy(rows), [0, 1, 2]).set_index("method")
    for method, own in values.items():
        row = summary.loc[method]
        assert (row["found"], row["expected"]) == (3, 3)
        np.testing.assert_allclose(
            [row["mean"], row["lowest"], row["highest"]], [np.mean(own), min(own), max(own)], rtol=1e-15
        )


@pytest.mark.parametrize("second", ["absent", "undefined"])
def test_over_seeds_never_averages_over_a_hole(second):
    rows = [("moco", 0, 0.1, None, "", "auroc", 0.5)]
    if second == "undefined":
        rows.append(("moco", 1, 0.1, None, "", "auroc", None))
    (row,) = over_seeds(tidy(rows), [0, 1]).to_dict("records")
    assert (row["found"], row["expected"]) == (1, 2)
    assert np.isnan([row["mean"], row["lowest"], row["highest"]]).all()


def test_over_seeds_tells_measurements_apart_and_knows_only_the_seeds_of_the_protocol():
    rows = [
        ("moco", seed, fraction, block, name, "auroc", seed + (fraction or 0) + (block or 0))
        for seed in (0, 1, 7)
        for fraction, block, name in [(0.1, None, ""), (1.0, None, ""), (None, 4, ""), (0.1, None, "nodule")]
    ]
    rows.append(("moco", 0, None, None, "", "", None))
    summary = over_seeds(tidy(rows), [0, 1])
    np.testing.assert_allclose(summary["mean"], [0.6, 1.5, 4.5, 0.6])
    assert summary["block"].isna().tolist() == [True, True, False, True]


def test_undefined_classes_are_named_once():
    rows = [("moco", seed, 0.1, None, name, "auroc", None if name == "hernia" else 0.5)
            for seed in (0, 1) for name in ("", "hernia", "nodule")]  # fmt: skip
    assert undefined_classes(tidy(rows)).to_dict("records") == [{"dataset": "chest", "class": "hernia"}]


def test_curve_means_need_every_seed():
    histories = pd.DataFrame({
        "dataset": "chest", "method": "moco", "seed": [0, 0, 1, 1], "epoch": [1, 2, 1, 2],
        "loss": [4.0, 2.0, 6.0, 3.0], "knn_auroc": [None, 0.7, 0.5, 0.9],
    })  # fmt: skip
    means = curve_means(histories, [0, 1])
    found = {(row["quantity"], row["epoch"]): row["mean"] for row in means.to_dict("records")}
    assert found == {("loss", 1): 5.0, ("loss", 2): 2.5, ("knn_auroc", 2): pytest.approx(0.8)}
    assert curve_means(histories.iloc[:0], [0, 1]).empty
