"""Verbs for results of several people: merge, submit, review."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.commands.terminal.console import complete_method, console

if TYPE_CHECKING:
    from bench.sharing.merge import Merged

# A message lists at most so many cells.
LISTED = 3


def _from_here(where: str) -> str:
    """A folder is meant from where the user is, and the verb works in the project's folder."""
    from bench.sharing.other_checkout import folder_named

    folder = folder_named(where)
    return where if folder is None else str(folder)


def merge(
    other: Annotated[
        str,
        typer.Argument(
            parser=_from_here,
            metavar="OTHER",
            help="Another checkout: its folder, a commit or branch that git knows here (origin/anna), or the "
            "address of a repository, with @REVISION behind it.",
        ),
    ],
) -> None:
    """Bring in finished cells of the same protocol from another checkout.

    A cell is taken if its files are as they were finished and its key is the one that code, settings and data
    have here; why others are not is said. Exit status 1 if cells of params.yaml were refused.
    """
    from bench.machine.lock import alone
    from bench.protocol.protocol import read_protocol
    from bench.sharing.merge import merge as merge_cells
    from bench.sharing.other_checkout import other_checkout

    protocol = read_protocol()
    with alone("bench merge"), other_checkout(other) as folder:
        merged = merge_cells(folder, protocol)
    _print_merged(merged)
    raise typer.Exit(1 if merged.refused else 0)


def _print_merged(merged: "Merged") -> None:
    out = console()
    had = f"; {merged.had} were here before" if merged.had else ""
    out.print(f"brought in {len(merged.brought_in)} finished cells{had}")
    for reason, cells in merged.refused.items():
        names = ", ".join(cell.title for cell in cells[:LISTED])
        more = f" and {len(cells) - LISTED} more" if len(cells) > LISTED else ""
        out.print(f"[bold]refused[/] {len(cells)} ({escape(names)}{more}): {escape(reason)}")
    for what, count in sorted(merged.elsewhere.items()):
        out.print(f"left out {count} of {escape(what)}, which params.yaml here does not name")
    if len(merged.hardware) > 1:
        out.print("[bold]mixed hardware[/], so a rerun on one machine need not agree bit for bit:")
    for device, count in merged.hardware.most_common():
        out.print(f"  {count} cells of encoders on {escape(device)}")
    for library, counts in merged.versions.items():
        counted = ", ".join(f"{version} ({count} cells)" for version, count in counts.items())
        out.print(f"[bold]mixed versions[/] of {library}: {escape(counted)}")
    if merged.brought_in:
        out.print("Lay them out, and write the leaderboard, with: bench repro")


def submit(
    method: Annotated[str, typer.Argument(help="A method of params.yaml.", autocompletion=complete_method)],
    out: Annotated[Path, typer.Option(help="Folder for the archive and the text.")] = Path(),
    with_encoders: Annotated[
        bool, typer.Option("--with-encoders", help="Pack encoders and features too, some MiB a seed.")
    ] = False,
) -> None:
    """Pack a finished method for others: file, checks, settings, tuning trials, predictions and provenance.

    Writes METHOD-submission.zip and METHOD-submission.md, the text of a pull request.
    """
    from bench.machine.lock import alone
    from bench.protocol.nearest_name import refuse_unknown
    from bench.protocol.protocol import read_protocol
    from bench.sharing.pack import submit as pack

    protocol = read_protocol()
    refuse_unknown("method", method, protocol.methods)
    with alone("bench submit"):
        archive, text = pack(method, protocol, out, with_encoders)
    typer.echo(f"{archive}: {archive.stat().st_size / 2**20:,.1f} MiB")
    typer.echo(f"{text}: the text of a pull request; complete it")


def review(
    archive: Annotated[Path, typer.Argument(help="METHOD-submission.zip, as bench submit writes it.")],
    run_code: Annotated[
        bool,
        typer.Option(
            "--run-code",
            help="Run the submitted file, which you have read: its checks, and cells again. It runs with "
            "your rights; use a machine or container that holds nothing of value.",
        ),
    ] = False,
    rerun: Annotated[
        int, typer.Option(min=0, help="So many random cells are computed again (with --run-code).")
    ] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of these cells.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Check a submission: settings, data cards, checksums, samples, scores; its code only if you say so.

    It is compared with params.yaml and the data of this checkout. Exit status 1 if something disagrees.
    """
    from bench.commands.results.verify import print_checks
    from bench.protocol.protocol import read_protocol
    from bench.sharing.review import review as review_data
    from bench.sharing.review import unpacked
    from bench.sharing.submission import METHOD_FILE
    from bench.trust.verify.check import disagreements

    with unpacked(archive, read_protocol()) as submission:
        checks = review_data(submission)
        if run_code:
            from bench.sharing.trial_run import check_conformance, scratch_suite
            from bench.sharing.trial_run import rerun as rerun_cells

            suite = scratch_suite(submission)
            checks.append(check_conformance(suite))
            if rerun:
                checks.append(rerun_cells(suite, rerun, seed))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        print_checks(checks, list(disagreements(checks)))
        if not run_code:
            name = escape(archive.name)
            console().print(
                f"\nNothing of it was run: not its checks, and no cell again. Read the code (unzip -p {name} "
                f"{METHOD_FILE}), then: bench review {name} --run-code"
            )
    raise typer.Exit(1 if any(check.disagreements for check in checks) else 0)
