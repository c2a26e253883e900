"""Lay out a stage: finished cells go from the store to where DVC and the report look for them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.cells import store
from bench.cells.files import HISTORY_FILE, cell_path, provenance_folder, read_table, stage_folder
from bench.cells.keys import Keys
from bench.protocol.cell import Cell
from bench.protocol.stage_specs import STAGES
from imssl.errors import UserError


def lay_out(cells: Sequence[Cell], keys: Keys) -> None:
    """Copy the finished cells of one stage on one data set into its output, and nothing else."""
    for output in outputs_of(cells):
        shutil.rmtree(output, ignore_errors=True)
    for cell in cells:
        store.copy_out(cell, keys.key(cell))
    if cells[0].stage == "pretrain":
        write_curves(cells)


def outputs_of(cells: Sequence[Cell]) -> list[Path]:
    """The folders that a stage with these cells writes."""
    return sorted(
        {
            folder(cell.stage, cell.dataset, owner_of(cell))
            for cell in cells
            for folder in (stage_folder, provenance_folder)
        }
    )


def owner_of(cell: Cell) -> str:
    """The method whose output a cell belongs to; empty where a stage writes one for all methods."""
    return "" if STAGES[cell.stage].runs == "dataset" else cell.method


def refuse_links(outputs: Sequence[Path]) -> None:
    """Refuse outputs that are links out of the project: DVC would refuse them too, after the computing.

    Raises:
        UserError: which one, and where it leads.
    """
    project = Path.cwd().resolve()
    for output in outputs:
        if not output.resolve().is_relative_to(project):
            raise UserError(
                f"{output} leads out of the project, to {output.resolve()}, where DVC cannot keep track of "
                "it. Replace the link by a folder; if the disk is too small, move the whole project."
            )


def refuse_braces() -> None:
    """Refuse a project in whose path there are braces: DVC's progress takes them for fields of a format.

    Raises:
        UserError: where the project lies.
    """
    project = Path.cwd()
    if set("{}") & set(str(project)):
        raise UserError(f"DVC cannot work in {project}, because of the braces. Rename the folder.")


def write_curves(cells: Sequence[Cell]) -> None:
    """Write the training curves of some cells of one method on one data set, for ``dvc plots show``.

    There is a table for each quantity, in dvclive's form. dvclive itself opens the DVC repository anew for
    every cell (0.2 s), and makes every process that starts a stage import all of DVC.

    They are written from the stored history at the end, so that a resumed run has one curve and not two
    halves, and a reused cell has one at all. They are not synced to the disk: DVC does not hold a stage for
    finished that was killed before its end.
    """
    curves = stage_folder("curves", cells[0].dataset, cells[0].method)
    shutil.rmtree(curves, ignore_errors=True)
    curves.mkdir(parents=True)
    for cell in cells:
        history = cell_path(cell) / HISTORY_FILE
        if not history.exists():  # the cell has failed
            continue
        tables = curves / cell.folder / "plots" / "metrics"
        tables.mkdir(parents=True)
        table = read_table(history).rename(columns={"epoch": "step"})
        last: dict[str, float] = {"step": int(table["step"].iloc[-1])}
        for name in map(str, table.columns.drop("step")):
            points = table[["step", name]].dropna()
            if not points.empty:
                points.to_csv(tables / f"{name}.tsv", sep="\t", index=False, lineterminator="\n")
                last[name] = float(points[name].iloc[-1])
        (curves / cell.folder / "metrics.json").write_text(
            json.dumps(last, indent=4) + "\n", encoding="utf-8"
        )
