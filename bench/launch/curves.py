"""Training curves in dvclive's form, for ``dvc plots show``."""

import shutil
from collections.abc import Sequence

import pandas as pd
from dvclive import Live

from bench.cells.files import HISTORY_FILE, cell_path, read_table, stage_folder
from bench.protocol.cell import Cell


def write_curves(cells: Sequence[Cell]) -> None:
    """Write the curves of some pretraining cells of one method on one data set.

    They are written from the stored history at the end, so that a resumed run has one curve and not two
    halves, and a reused cell has one at all.
    """
    curves = stage_folder("curves", cells[0].dataset, cells[0].method)
    shutil.rmtree(curves, ignore_errors=True)
    curves.mkdir(parents=True)
    for cell in cells:
        history = cell_path(cell) / HISTORY_FILE
        if not history.exists():  # the cell has failed
            continue
        with Live(str(curves / cell.folder), save_dvc_exp=False, dvcyaml=None, report=None) as live:
            for row in read_table(history).to_dict("records"):
                live.step = int(row.pop("epoch"))
                for name, value in row.items():
                    if pd.notna(value):
                        live.log_metric(str(name), float(value))
