"""The console command ``bench``: its verbs and their options; the work is done by the modules they call."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bench.commands import methods, speed, trust, tuning
from bench.commands.console import console
from imssl.errors import UserError

app = typer.Typer(
    name="bench",
    help=(
        "A reproducibility benchmark for self-supervised pretraining on medical images.\n\n"
        "Everything that decides a number stands in [bold]params.yaml[/]; a profile writes it. "
        "[bold]dvc repro[/] (or [bold]bench repro[/]) brings every result up to date with it and writes "
        "[bold]reports/leaderboard.html[/]. Run the commands in the project's folder."
    ),
    epilog="Exit status: 0 done; 1 a check or stage failed; 2 a mistake: the message says how to mend it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
profile_app = typer.Typer(no_args_is_help=True, help="List the profiles, or write params.yaml from one.")
app.add_typer(profile_app, name="profile")
app.command("perf")(speed.perf)
app.command("plan")(speed.plan)
app.command("tune")(tuning.tune)


@profile_app.command("list")
def profile_list() -> None:
    """List the profiles: what each compares, which data it needs and how long it takes."""
    from bench.protocol.profile import profiles

    table = Table("profile", "what it is", "needs", "time", box=None, pad_edge=False)
    for profile in profiles():
        table.add_row(f"[bold]{profile.name}[/]", profile.summary, profile.needs, profile.time)
    console().print(table)


@profile_app.command("use")
def profile_use(
    name: Annotated[str, typer.Argument(help="Name of the profile, see: bench profile list")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the data sets, laid out as their owners publish them.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a params.yaml that you have edited.")
    ] = False,
) -> None:
    """Write params.yaml from a profile.

    Finished results are kept, and are found again if you go back to an earlier profile.
    """
    from bench.machine.lock import alone
    from bench.protocol.profile import use_profile

    with alone("bench profile use"):
        typer.echo(use_profile(name, data_dir, force))


@app.command()
def check() -> None:
    """Check every key and value of params.yaml, and the hyper-parameters of every method."""
    from bench.cells.method_facts import method_facts
    from bench.protocol.protocol import read_protocol

    protocol = read_protocol()
    method_facts(protocol)
    typer.echo(
        f"params.yaml is fine: {len(protocol.datasets)} data sets, {len(protocol.methods)} methods, "
        f"{len(protocol.seeds)} seeds, {len(protocol.label_fractions)} label fractions"
    )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def repro(context: typer.Context) -> None:
    """Run [bold]dvc repro[/] with the same arguments, then say where the leaderboard is."""
    from bench.launch.repro import run_dvc_repro

    raise typer.Exit(run_dvc_repro(context.args))


@app.command()
def report(
    open_it: Annotated[bool, typer.Option("--open", help="Open the leaderboard in the browser.")] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="Print the paired comparison of two methods instead: the first minus the second, by name."
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of reports/results.json instead.")
    ] = False,
) -> None:
    """Write the leaderboard from the finished cells; cells that are missing show as holes."""
    if compare or schema:
        from bench.commands import report

        report.print_comparison(*compare) if compare else report.print_schema()
        return
    from bench.machine.lock import alone
    from bench.protocol.protocol import read_protocol
    from bench.report.leaderboard import write_reports

    with alone("bench report"):
        file = write_reports(read_protocol())
    typer.echo(f"leaderboard: {file}")
    if open_it:
        typer.launch(str(file))


app.command("new-method")(methods.new_method)
app.command("check-method")(methods.check_method)
app.command("add-method")(methods.add_method)
app.command("methods")(methods.list_methods)
app.command("update-method")(methods.update_method)
app.command("remove-method")(methods.remove_method)
app.command("verify")(trust.verify)
app.command("audit-data")(trust.audit_data)
app.command("trap")(trust.trap)


def main() -> None:
    """Entry point: a user's mistake, or a failure of the machine, is one message and exit status 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        from bench.machine.failures import machine_failure

        message = machine_failure(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
