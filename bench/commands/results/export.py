"""``bench export``, and the tables and charts of ``bench report`` for a paper."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.report.view import View


def export(
    file: Annotated[
        Path | None,
        typer.Argument(help="The archive; by default PROFILE-results.zip.", show_default=False),
    ] = None,
) -> None:
    """Pack what a reviewer or a colleague needs of this run into a zip file.

    Pages, every number, tables and charts for a paper, params.yaml, dvc.lock, data cards, method files, and
    metadata of the results (Croissant). The report is written anew first. Equal results give equal bytes.
    """
    from bench.cells.store.last_checks import last_checks
    from bench.export.bundle import export as pack
    from bench.machine.lock import alone
    from bench.report.leaderboard import write_view

    with alone("bench export"):
        view = _view()
        archive = file or Path(f"{view.summary.protocol.profile}-results.zip")
        checks = last_checks()
        write_view(view, checks)
        notes = pack(view, archive, checks)
    for note in notes:
        typer.echo(note, err=True)
    typer.echo(f"{archive}: {archive.stat().st_size / 2**20:,.1f} MiB")
    typer.echo(
        "params.yaml names paths of this machine, and pages name test images as their files do: "
        "look whether you may pass them on."
    )


def print_tables(kind: Literal["markdown", "latex"]) -> None:
    """Print the score tables of all evaluations.

    Raises:
        UserError: there are no results yet.
    """
    from bench.export.latex import as_latex
    from bench.export.markdown import as_markdown
    from bench.export.score_tables import score_tables

    tables = score_tables(_view())
    typer.echo(as_latex(tables) if kind == "latex" else as_markdown(tables), nl=False)


def write_chart_files(folder: Path) -> None:
    """Write every chart into a folder.

    Raises:
        UserError: there are no results yet, or the folder is a file.
    """
    from bench.export.chart_files import write_charts

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--charts {folder}: this is a file. Name a folder.")
    for note in write_charts(_view(), folder):
        typer.echo(note, err=True)
    count = len(list(folder.glob("*.svg")))
    typer.echo(f"{count} charts as SVG and PNG, with their data as CSV: {folder}")


def _view() -> "View":
    """The run as it lies on disk.

    Raises:
        UserError: no cell of it is finished.
    """
    from bench.protocol.protocol import read_protocol
    from bench.report.view import view_of_results
    from bench.summary.read import laid_out_or_finished, read_results
    from bench.summary.tidy import has_results

    protocol = read_protocol()
    results = read_results(protocol, laid_out_or_finished)
    if not has_results(results.table):
        raise UserError("there are no results yet. Run: bench repro")
    return view_of_results(protocol, results)
