"""Verbs for published studies: pack, restore, pages and write; and a report beside one."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.commands.terminal.console import Verbs, console
from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.studies.restore import Restored
    from bench.studies.stored.files import Chain

# A message lists at most so many chains.
LISTED = 3

study_app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    help="Published studies in reports/studies/: pack what is finished, bring it back, write its pages.",
)


def complete_study(incomplete: str) -> list[str]:
    """Names of the studies that begin so, for the shell."""
    from bench.studies.stored.files import study_names

    return [name for name in study_names() if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(help="Of the study.", autocompletion=complete_study)]


@study_app.command("pack")
def pack(
    name: Annotated[str, typer.Argument(help="Of the study: lower-case letters, digits and hyphens.")],
    chains_only: Annotated[
        bool,
        typer.Option(
            "--chains-only", help="Leave tables and the leaderboard for later; for use while a run goes on."
        ),
    ] = False,
) -> None:
    """Add every finished chain of params.yaml to a study, in a compact form for git.

    A chain is all stages of one method on one data set with one seed. Chains that the study holds already are
    not touched, so seeds can be added later. It may be called while a run is at work.
    """
    from bench.cells.store.held_cells import CHECKOUT_CLAIMS, claimed
    from bench.machine.lock import shared
    from bench.protocol.protocol import read_protocol
    from bench.studies import pack as packing
    from bench.studies.reports import write_derived
    from bench.studies.stored.files import MOST_BYTES

    def refuse(holder: object) -> None:
        raise UserError(f"{holder} is packing a study. Wait until it has ended.")

    with shared("bench study pack"), claimed("study", "bench study pack", refuse, CHECKOUT_CLAIMS):
        packed = packing.pack(name, read_protocol(), tell=typer.echo)
        if not chains_only:
            write_derived(packed.study)
    size = packing.size_of(packed.study)
    typer.echo(
        f"{packed.study}: {len(packed.new)} chains added, {packed.had} were there, "
        f"{len(packed.unfinished)} are not finished; {size / 1e6:.1f} MB"
    )
    if packed.other_code:
        typer.echo(
            f"{len(packed.other_code)} of the chains that were there come of other code of the same version "
            f"({_listed(packed.other_code)}); they were left as they are"
        )
    if size > MOST_BYTES:
        typer.echo(f"warning: a study should take no more than {MOST_BYTES / 1e6:.0f} MB in git", err=True)


@study_app.command("restore")
def restore(name: Name) -> None:
    """Bring the finished chains of a study into the store, so that `bench run` computes only the others.

    A cell is taken where its key is the one that code, settings and data have here. Encoders and features are
    not in a study. Exit status 1 if chains of params.yaml were refused.
    """
    from bench.machine.lock import alone
    from bench.protocol.protocol import read_protocol
    from bench.studies.restore import restore as bring_back

    protocol = read_protocol()
    with alone("bench study restore"):
        restored = bring_back(name, protocol)
    _print_restored(restored)
    raise typer.Exit(1 if restored.refused else 0)


@study_app.command("pages")
def pages(
    name: Name,
    open_it: Annotated[bool, typer.Option("--open", help="Open the leaderboard in the browser.")] = False,
) -> None:
    """Write all pages of a study into its folder: the leaderboard, and one for each method and data set.

    Only the leaderboard is kept in git. Everything is computed from the stored predictions.
    """
    from bench.machine.lock import shared
    from bench.studies.reports import study_view, write_all_pages
    from bench.studies.stored.files import study_folder

    folder = study_folder(name)
    with shared("bench study pages"):
        file = write_all_pages(study_view(folder), folder, name)
    typer.echo(f"leaderboard: {file}")
    if open_it:
        typer.launch(str(file))


@study_app.command("write")
def write(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Of the study; without it, only what was planned is written.",
            autocompletion=complete_study,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the figures and tables of docs/study.md, or docs/study-NAME.md, between their marks."""
    from bench.machine.lock import shared
    from bench.studies.paper import write_paper

    with shared("bench study write"):
        file = write_paper(name)
    typer.echo(f"written: {file}")


def report_with_study(name: str, open_it: bool) -> None:
    """Write the pages of a study with the methods of params.yaml that it does not have."""
    from bench.machine.lock import shared
    from bench.protocol.protocol import read_protocol
    from bench.report.layout import listed
    from bench.studies.reports import report_beside

    with shared("bench report"):
        beside = report_beside(name, read_protocol())
    typer.echo(f"{listed(beside.own)} beside the study {name}, on the same test images and seeds")
    if beside.missing:
        typer.echo(
            f"{beside.missing} cells of these have no result, and show as holes. Run: bench repro", err=True
        )
    typer.echo(f"leaderboard: {beside.page}")
    if open_it:
        typer.launch(str(beside.page))


def _print_restored(restored: "Restored") -> None:
    out = console()
    had = f"; {restored.had} were finished here before" if restored.had else ""
    out.print(f"brought back {restored.cells} cells of {len(restored.chains)} chains{had}")
    for reason, chains in restored.refused.items():
        out.print(f"[bold]refused[/] {len(chains)} chains ({escape(_listed(chains))}): {escape(reason)}")
    if restored.elsewhere:
        out.print(f"left out {len(restored.elsewhere)} chains that params.yaml here does not name")
    if restored.cells:
        out.print(
            "Their encoders and features are not in a study: exporting an encoder, CKA of further label sets "
            "and further evaluations need them, and say so. `bench run` computes the chains that are missing."
        )


def _listed(chains: "list[Chain]") -> str:
    more = f" and {len(chains) - LISTED} more" if len(chains) > LISTED else ""
    return ", ".join(chain.title for chain in chains[:LISTED]) + more
