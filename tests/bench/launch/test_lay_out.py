"""Training curves as dvc plots show reads them."""

import json
from pathlib import Path

import pandas as pd

from bench.cells.files import cell_path
from bench.launch.lay_out import write_curves
from bench.protocol.cell import Cell


def test_a_table_for_each_quantity_with_the_steps_that_have_it(project):
    cell, failed = (Cell("pretrain", "chest", "moco", seed) for seed in (0, 1))
    cell_path(cell).mkdir(parents=True)
    cell_path(failed).mkdir(parents=True)
    (cell_path(cell) / "history.csv").write_text("epoch,loss,knn\n1,2.5,\n2,0.1,0.75\n3,0.05,\n")
    write_curves([cell, failed])
    curves = Path("results/chest/curves/moco")
    assert [path.name for path in curves.iterdir()] == ["seed-0"]
    tables = curves / "seed-0" / "plots" / "metrics"
    loss, knn = (pd.read_csv(tables / f"{name}.tsv", sep="\t") for name in ("loss", "knn"))
    assert loss.to_dict("list") == {"step": [1, 2, 3], "loss": [2.5, 0.1, 0.05]}
    assert knn.to_dict("list") == {"step": [2], "knn": [0.75]}
    assert json.loads((curves / "seed-0" / "metrics.json").read_text()) == {
        "step": 3,
        "loss": 0.05,
        "knn": 0.75,
    }
    write_curves([cell])  # once more over what is there
