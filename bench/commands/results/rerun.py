"""``bench rerun``: computes one cell anew and compares it with what is kept of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bench.commands.results.study import complete_study
from bench.commands.terminal.console import complete_cell, console

if TYPE_CHECKING:
    from bench.studies.published_cell import PublishedRerun
    from bench.trust.compared_files import FileComparison
    from bench.trust.verify.rerun import Rerun


def rerun(
    cell: Annotated[
        str,
        typer.Argument(
            help="Its name: stage/dataset/method/seed-N, and its labels where the stage has a cell for each, "
            "such as finetune/phantom-chest/moco/seed-0/fraction-0.1.",
            autocompletion=complete_cell,
        ),
    ],
    study: Annotated[
        str | None,
        typer.Option(
            help="Compute a cell of this published study, by its params.yaml, and compare it with what is "
            "published. Only the data set has to be there: dvc repro data@DATASET.",
            autocompletion=complete_study,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compute one cell again, in a scratch folder, and compare it file by file with what is kept of it.

    What it builds on is taken as it is kept, and computed first where it is kept nowhere. On the same
    processor or GPU and with the same versions of the packages every bit must agree; elsewhere the
    difference is shown beside that between two seeds, which is its bound. Nothing in the project is changed.
    Exit status 0: equal; 1: it differs, within the bound or not.
    """
    from bench.cells.store.last_checks import digest_of_results, keep, records_at
    from bench.commands.terminal.progress import progress_of
    from bench.machine.lock import shared
    from bench.protocol.cell import cell_named
    from bench.protocol.protocol import read_protocol
    from bench.trust.verify.rerun import rerun_cell

    if study is not None:
        return _rerun_published(study, cell, as_json)
    protocol = read_protocol()
    wanted = cell_named(cell, protocol)
    with shared("bench rerun"), progress_of("rerun") as on_progress:
        result = rerun_cell(wanted, protocol, on_progress)
    verdict = f"{wanted.name} {verdict_of(result)}"
    content = {"cell": wanted.name, "equal": result.equal, "agrees": result.agrees, **asdict(result)}
    about = digest_of_results(records_at([wanted]))
    keep("rerun", verdict, content, fine=result.agrees, about=about)
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        print_rerun(result)
        typer.echo(verdict)
    raise typer.Exit(0 if result.equal else 1)


def _rerun_published(study: str, cell: str, as_json: bool) -> None:
    from bench.commands.terminal.progress import progress_of
    from bench.machine.lock import shared
    from bench.studies.published_cell import rerun_published

    with shared("bench rerun"), progress_of("rerun") as on_progress:
        result = rerun_published(study, cell, on_progress)
    if as_json:
        typer.echo(json.dumps({"equal": result.equal, **asdict(result)}, indent=1))
    else:
        _print_published(result)
        typer.echo(f"{cell} {published_verdict(result)}")
    raise typer.Exit(0 if result.equal else 1)


def published_verdict(rerun: "PublishedRerun") -> str:
    """How a published cell has come out, in words that follow its name."""
    if rerun.equal:
        return "came out as published, bit for bit"
    if rerun.failure:
        return f"has failed this time: {rerun.failure}"
    if not rerun.elsewhere:
        return "differs, although processor and package versions are the study's: not a bit should"
    beyond = [number for number in rerun.numbers if not number.within_seeds]
    if not beyond:
        return f"differs, none of its {len(rerun.numbers)} numbers by more than the study's seeds do"
    return (
        f"differs, {len(beyond)} of its {len(rerun.numbers)} numbers by more than the study's seeds do: "
        "it was computed elsewhere at first"
    )


def _print_published(rerun: "PublishedRerun") -> None:
    """Print each number beside the published one, and what was another machine."""
    table = Table("number", "published", "now", "difference", "between seeds", box=None, pad_edge=False)
    for row in rerun.numbers:
        sizes = (row.published, row.now, row.difference, row.between_seeds)
        table.add_row(escape(row.name), *map(_size, sizes))
    files = (("bit for bit", rerun.equal_files), ("other bits", rerun.other_files))
    _print_comparison(rerun, table, [f"{words}: {', '.join(names)}" for words, names in files if names])


def verdict_of(rerun: "Rerun") -> str:
    """How a cell has come out, in words that follow its name."""
    if rerun.equal:
        return "came out equal, bit for bit"
    if rerun.failure:
        return f"has failed this time: {rerun.failure}"
    if not rerun.elsewhere:
        return "differs, although processor and package versions are those of the record: not a bit should"
    if rerun.agrees:
        return "differs, and by no more than two seeds do: it was computed elsewhere at first"
    if any(file.between_seeds is None for file in rerun.files if not file.equal):
        return "differs; it was computed elsewhere at first, and no second seed says how much is usual"
    return "differs by more than two seeds do, more than another machine or version explains"


def print_rerun(rerun: "Rerun") -> None:
    """Print how each file of a cell that was computed again compares, and what was another machine."""
    table = Table("file", "", "largest difference", "between seeds", box=None, pad_edge=False)
    for file in rerun.files:
        words = _comparison(file, bool(rerun.elsewhere))
        table.add_row(file.name, words, _size(file.difference), _size(file.between_seeds))
    _print_comparison(rerun, table)


def _print_comparison(rerun: "Rerun | PublishedRerun", table: Table, lines: Sequence[str] = ()) -> None:
    """Print what was computed, a table of how it compares, lines on that, and what was another machine."""
    out = console()
    if rerun.computed_for_it:
        out.print(f"kept nowhere, so computed first: {escape(', '.join(rerun.computed_for_it))}")
    heading = f"\ncomputed again: [bold]{escape(rerun.title)}[/] in {rerun.seconds:.1f} s"
    out.print(heading, highlight=False)
    out.print(table)
    for line in lines:
        out.print(escape(line), highlight=False)
    if rerun.elsewhere:
        out.print("computed elsewhere at first, so it may differ as two seeds do:")
    for origin in rerun.elsewhere:
        out.print(f"  {escape(origin)}", highlight=False)


def _comparison(file: "FileComparison", elsewhere: bool) -> str:
    if file.equal:
        return "bit for bit"
    if not elsewhere:
        return "[red]differs[/]"
    if file.within_seeds:
        return "differs, no more than two seeds"
    if file.between_seeds is None:
        return "[red]differs, and no second seed says how much is usual[/]"
    return "[red]differs more than two seeds[/]"


def _size(difference: float | None) -> str:
    return "-" if difference is None else f"{difference:.3g}"
