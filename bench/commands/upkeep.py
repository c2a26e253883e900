"""Verbs that look after a project and its machine: check, clean, doctor."""

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bench.commands.terminal.console import console
from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.trust.storage import Holding


def check() -> None:
    """Check params.yaml, and what a run would die of.

    Every key and value, the hyper-parameters of every method, the paths of the data, batch and queues against
    the prepared images, and the device. Exit status 2 if something is wrong.

    Raises:
        UserError: something is.
    """
    from bench.methods.encoders.fitting import check_encoder
    from bench.protocol.protocol import read_protocol
    from bench.trust.run_check import mistakes, unprepared

    protocol = read_protocol()
    wrong = mistakes(protocol)
    if wrong:
        raise UserError("\n".join(wrong))
    check_encoder(protocol)
    typer.echo(
        f"params.yaml is fine: {len(protocol.datasets)} data sets, {len(protocol.methods)} methods, "
        f"{len(protocol.seeds)} seeds, {len(protocol.label_sets)} label sets"
    )
    missing = unprepared(protocol)
    if missing:
        typer.echo(
            f"not prepared yet, so batch and queue were not compared with their images: {', '.join(missing)}"
        )


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, as a bug report should hold it.")
    ] = False,
) -> None:
    """Say on one screen what this machine is, for a run: each line good, slow or broken, with a way out.

    Exit status 1 if something is broken.
    """
    from bench.cells.records import package_versions
    from bench.cells.store.last_checks import digest_of_versions, keep
    from bench.commands.terminal.console import project_folder
    from bench.trust.doctor import examine

    project = project_folder() or Path.cwd()
    findings = list(examine(project))
    content = [asdict(finding) for finding in findings]
    counts = Counter(finding.state for finding in findings)
    verdict = ", ".join(f"{count} {state}" for state, count in counts.items())
    keep(
        "doctor",
        verdict,
        content,
        fine=not counts["broken"],
        about=digest_of_versions(package_versions()),
        project=project,
    )
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        styles = {"good": "green", "slow": "yellow", "broken": "bold red"}
        table = Table("", "", "found", "way out", box=None, pad_edge=False)
        for finding in findings:
            state = f"[{styles[finding.state]}]{finding.state}[/]"
            table.add_row(state, finding.about, escape(finding.found), escape(finding.way_out))
        console().print(table)
    raise typer.Exit(1 if any(finding.state == "broken" for finding in findings) else 0)


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what could be freed, and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Free it without asking.")] = False,
    older_than: Annotated[
        float, typer.Option(help="Free only what was written so many days ago or earlier.", min=0)
    ] = 0.0,
) -> None:
    """Show what .bench/ and DVC's cache hold, and free what nothing needs any more, after asking.

    Needed are the cells of params.yaml, checkpoints of unfinished ones, and what dvc.lock, a commit or an
    experiment names. Results and reports are never touched.

    Raises:
        UserError: there is no terminal to ask on.
    """
    from bench.cells.files import SHARED_STORE, STORE
    from bench.machine.lock import alone
    from bench.protocol.protocol import read_protocol
    from bench.trust.storage import free, holdings

    protocol = read_protocol()
    with alone("bench clean"):
        kinds = holdings(protocol)
        _print_holdings(kinds, older_than)
        if SHARED_STORE != STORE:
            typer.echo(
                f"{SHARED_STORE}: finished cells and checkpoints stay, as other checkouts may need them"
            )
        freeable = [kind for kind in kinds if kind.to_free(older_than)]
        if dry_run or not freeable:
            return
        if not yes and not sys.stdin.isatty():
            raise UserError("there is no terminal to ask on, so nothing was freed. Run: bench clean --yes")
        size = sum(item.bytes for kind in freeable for item in kind.to_free(older_than))
        if not yes and not typer.confirm(f"Free {_size(size)}?"):
            typer.echo("nothing was freed")
            return
        # Cells first: what DVC keeps of them stays readable if this is stopped.
        freed = sum(free(kind, older_than) for kind in freeable)
    typer.echo(f"{_size(freed)} are free again")


def _print_holdings(kinds: "list[Holding]", older_than: float) -> None:
    heads = ("kept", "how many", "size", "age in days", "not needed", "can be freed", "what is lost by it")
    table = Table(*heads, box=None, pad_edge=False)
    for kind in kinds:
        ages = [item.days for item in kind.stored]
        unneeded, freed = kind.to_free(0), kind.to_free(older_than)
        table.add_row(
            kind.name,
            str(len(kind.stored)),
            _size(sum(item.bytes for item in kind.stored)),
            f"{min(ages):.0f} to {max(ages):.0f}",
            str(len(unneeded)),
            _size(sum(item.bytes for item in freed)),
            kind.lost if freed else "",
        )
    out = console()
    if not kinds:
        out.print("nothing is kept beside the results")
        return
    out.print(table)
    if not any(kind.to_free(older_than) for kind in kinds):
        out.print("nothing to free")


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count < 2**30 else f"{count / 2**30:,.2f} GiB"
