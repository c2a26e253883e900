"""Verbs on methods: start, check, add, list, update and remove them."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bench.commands.terminal.console import complete_method, console
from bench.commands.terminal.duration import duration
from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.conformance.rule import CheckReport
    from bench.forecast.of_method import MethodPlan
    from bench.protocol.protocol import Protocol

MethodPath = Annotated[
    Path,
    typer.Argument(
        help="A Python file with one method in it, or the name of one of the suite's, such as simclr.",
        show_default=False,
    ),
]
MethodName = Annotated[
    str,
    typer.Argument(
        help="Name of a method in params.yaml.", show_default=False, autocompletion=complete_method
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A hyper-parameter that differs from its default; may be repeated.",
        show_default=False,
    ),
]
STYLES = {"pass": "green", "fail": "bold red", "skip": "yellow", "info": "cyan"}


def new_method(
    name: Annotated[str, typer.Argument(help="Name of the method, such as my-method.", show_default=False)],
) -> None:
    """Write a commented method file to start from into the current folder; it passes the checks as it is."""
    from bench.methods.names import check_free
    from bench.methods.template import starting_file

    check_free(name)
    file, text = starting_file(name)
    try:
        with Path(file).open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UserError(f"{file} exists already and is left as it is; choose another name.") from None
    typer.echo(f"Wrote {file}. Edit it, then: bench check-method {file}")


def check_method(
    path: MethodPath,
    assignments: Assignments = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of a table.")
    ] = False,
) -> None:
    """Check a method file against the contract, without adding it.

    The checks are about fairness, not safety: the file is code and runs with your rights.
    Exit status: 0 all checks pass, 1 a check fails, 2 the file cannot be loaded.
    """
    from bench.methods.changes import check_alone

    try:
        with _stoppable():
            report = check_alone(path, assignments or [])
    except UserError as error:
        if as_json:
            print(json.dumps({"passed": False, "error": str(error)}, ensure_ascii=False))
        raise
    if as_json:
        print(report.as_json())
    else:
        _print_report(report)
    raise typer.Exit(1 if report.failed else 0)


def add_method(
    path: MethodPath,
    name: Annotated[
        str | None, typer.Option(help="Name in params.yaml; by default that of the file.", show_default=False)
    ] = None,
    assignments: Assignments = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Leave the checks out; the leaderboard will say so.")
    ] = False,
) -> None:
    """Check a method file, copy it to methods/, and add it to params.yaml.

    In a checkout of the suite that is imssl/methods/.

    All or nothing: if a check fails, or on Ctrl-C, nothing is changed. The results of the other methods
    stay valid. A variant of the same file is another row: --name simclr-t01 --set temperature=0.1
    """
    from bench.machine.lock import alone
    from bench.methods.changes import add, addition, check_addition
    from bench.methods.checked import record_file
    from bench.protocol.registry import BUILT_IN, place_of_method, shown

    with _stoppable():
        with alone("bench add-method"):  # asked now, too, and not only after minutes of checks
            new = addition(path, name, assignments or [])
        report = check_addition(new, checks=not no_check)
        _refuse_failed(report)
        with alone("bench add-method"):
            add(new, report)
    typer.echo(f"{new.name} is in params.yaml; its file is {shown(place_of_method(new.file_name))}.")
    if no_check:
        typer.echo("Its checks were left out; the leaderboard will say so.")
    places = ["params.yaml", shown(place_of_method(new.file_name))]
    if not no_check and new.file_name not in BUILT_IN:
        record = record_file(new.file_name)
        places.append("/".join(record.parts[-3:]))
    typer.echo(f"Commit {', '.join(places)} first if the provenance of its cells should name a commit.")
    _print_plan(new.name, report.speed_ratio)


def list_methods(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of a table.")
    ] = False,
) -> None:
    """List the methods of params.yaml: file, hyper-parameters, checks, and how many cells are finished."""
    from dataclasses import asdict

    from bench.methods.listing import listed_methods
    from bench.protocol.protocol import read_protocol

    rows = listed_methods(read_protocol())
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False))
        return
    table = Table("method", "file", "origin", "SHA-256", "checks", "cells", "differs from the defaults",
                  box=None, pad_edge=False)  # fmt: skip
    for row in rows:
        given = _listed_settings(row.differs)
        if row.optimisation:
            given += f"{'; ' if given else ''}optimiser {_listed_settings(row.optimisation)}"
        for dataset, different in row.on_datasets.items():
            given += f"{'; ' if given else ''}on {dataset} {_listed_settings(different)}"
        cells = f"{row.cells_done}/{row.cells}"
        texts = (row.id, row.file, row.origin, row.sha256[:12], row.checks, cells, given or "–")
        table.add_row(*(Text(text) for text in texts))
    console().print(table)


def update_method(name: MethodName, path: MethodPath) -> None:
    """Check a file, replace a method's file by it, and say which finished cells become stale.

    All or nothing, as add-method. Given the method's own file, it only checks it and records the result.
    """
    from bench.forecast.of_method import finished_cells_of
    from bench.machine.lock import alone
    from bench.methods.changes import check_update, update, update_of
    from bench.protocol.protocol import read_protocol
    from bench.protocol.registry import shown
    from bench.protocol.source_files.parsing import parsed

    with _stoppable():
        with alone("bench update-method"):
            replacement = update_of(name, path)
        report = check_update(replacement)
        _refuse_failed(report)
        earlier, given = replacement.file.read_bytes(), replacement.source.content
        same, place = earlier == given, str(replacement.file)
        # Comments, docstrings and layout decide no number.
        runs_alike = parsed(earlier, place) == parsed(given, place)
        stale = {} if runs_alike else finished_cells_of(replacement.file, read_protocol())
        with alone("bench update-method"):
            update(replacement, report)
    if same:
        typer.echo(f"{shown(replacement.file)} passes and is unchanged; no cell becomes stale.")
        return
    typer.echo(f"{shown(replacement.file)} is replaced.")
    for method, count in stale.items():
        typer.echo(f"{count} finished cells of {method} become stale: dvc repro computes them again.")
    if runs_alike:
        typer.echo("It does what it did before, so no cell becomes stale.")
    elif not stale:
        typer.echo("None of its cells was finished, so none becomes stale.")


def remove_method(
    name: MethodName,
    delete_file: Annotated[
        bool, typer.Option("--delete-file", help="Delete its file, and the record of its checks, as well.")
    ] = False,
) -> None:
    """Remove a method from params.yaml; its finished cells are kept, and found again if it comes back."""
    from bench.machine.lock import alone
    from bench.methods.changes import remove

    with _stoppable(), alone("bench remove-method"):
        deleted, initialisation = remove(name, delete_file)
    typer.echo(f"{name} is no longer in params.yaml; its finished cells stay in .bench/ and DVC's cache.")
    if initialisation is not None:
        typer.echo(f"initialisations.{initialisation}, which no other row names, is out too; its file stays.")
    for file in deleted:
        typer.echo(f"deleted: {file.parent.name}/{file.name}")
    typer.echo("Bring the leaderboard up to date with: dvc repro")


def _listed_settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in settings.items())


@contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; nothing has changed", file=sys.stderr)
        raise typer.Exit(130) from None


def _refuse_failed(report: "CheckReport") -> None:
    if report.checks:
        _print_report(report)
    if report.failed:
        print("Nothing has changed.", file=sys.stderr)
        raise typer.Exit(1)


def _print_report(report: "CheckReport") -> None:
    table = Table("", "check", "expected", "found", box=None, pad_edge=False)
    for outcome in report.checks:
        finding = Text(outcome.found)
        if outcome.hint:
            finding.append(f"\n→ {outcome.hint}", style="italic")
        status = Text(outcome.status, style=STYLES[outcome.status])
        table.add_row(status, Text(outcome.name), Text(outcome.expected), finding)
    console().print(table)
    count = Counter(outcome.status for outcome in report.checks)
    typer.echo(
        f"{report.file}: {count['pass']} checks pass, {count['fail']} fail, {count['skip']} skipped; "
        f"{count['info']} measurements for information."
    )


def _print_plan(name: str, speed_ratio: float | None) -> None:
    from bench.forecast.of_method import method_plan
    from bench.protocol.protocol import read_protocol

    protocol = read_protocol()
    try:
        planned = method_plan(name, protocol, speed_ratio)
    except UserError as error:
        typer.echo(f"How long its cells will take cannot be predicted: {error}")
    else:
        typer.echo(_in_words(planned, protocol))
    typer.echo("Run it with: dvc repro")


def _in_words(planned: "MethodPlan", protocol: "Protocol") -> str:
    datasets = "1 data set" if len(protocol.datasets) == 1 else f"{len(protocol.datasets)} data sets"
    lines = [f"dvc repro will compute {planned.cells} of its cells on {datasets}:"]
    lines += [
        f"  {stage.stage:<9} {stage.cells:>4}  about {duration(stage.seconds)}" for stage in planned.stages
    ]
    if planned.reused:
        lines.append(f"{planned.reused} more are finished already and will be used again.")
    basis = "judged by the finished cells" if planned.measured else "a guess, as no cell is finished yet"
    lines.append(
        f"In all about {duration(planned.seconds)}, {planned.at_once} cells at a time ({basis}); "
        f"{duration(planned.overhead)} of it for starting processes, DVC and the report."
    )
    lines.append("No finished cell of another method is computed again; the report is written again.")
    if planned.others:
        lines.append(f"Besides these, {planned.others} cells of other methods are still to be computed.")
    return "\n".join(lines)
