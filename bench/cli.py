"""The console command ``bench``: its verbs and their options; the work is done by the modules they call."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bench.commands import project, upkeep
from bench.commands.data_and_methods import datasets, download, encoders, methods
from bench.commands.data_and_methods.preview import preview
from bench.commands.results import export, sharing, study, trust
from bench.commands.results.rerun import rerun
from bench.commands.results.verify import verify
from bench.commands.running import launch, speed, tuning
from bench.commands.terminal.console import Verbs, complete_profile, console, quiet, say_version
from bench.machine.failures import exit_status
from imssl.errors import UserError

app = typer.Typer(
    name="bench",
    help=(
        "A reproducibility benchmark for self-supervised pretraining on medical images.\n\n"
        "Everything that decides a number stands in [bold]params.yaml[/]; a profile writes it. "
        "[bold]dvc repro[/] (or [bold]bench repro[/]) brings every result up to date with it and writes "
        "[bold]reports/leaderboard.html[/]. The commands work in the project's folder and those below it."
    ),
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done; 1 a check or stage failed; 2 a mistake: the message says how to mend it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
profile_app = typer.Typer(
    cls=Verbs, no_args_is_help=True, help="List the profiles, or write params.yaml from one."
)
app.add_typer(profile_app, name="profile")
app.command("init")(project.init)
app.add_typer(study.study_app, name="study")
app.command("perf")(speed.perf)
app.command("plan")(speed.plan)
app.command("tune")(tuning.tune)
app.command("run")(launch.run)
app.command("status")(launch.status)
app.command("repro", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    launch.repro
)


@app.callback()
def _options(
    context: typer.Context,
    silent: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors only; the exit status says the rest.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=say_version, is_eager=True)
    ] = False,
) -> None:
    if silent:
        context.with_resource(quiet())


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
    name: Annotated[
        str,
        typer.Argument(help="Name of the profile, see: bench profile list", autocompletion=complete_profile),
    ],
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
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the score tables as Markdown instead.")
    ] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="Print them as LaTeX (booktabs, threeparttable) instead.")
    ] = False,
    charts: Annotated[
        Path | None,
        typer.Option(
            help="Write every chart into this folder instead, as SVG and PNG with its data as CSV, and "
            "critical-difference diagrams."
        ),
    ] = None,
    with_study: Annotated[
        str | None,
        typer.Option(
            help="Write the pages of a published study with your methods beside its own instead, to "
            "reports/with-NAME/.",
            autocompletion=study.complete_study,
        ),
    ] = None,
) -> None:
    """Write the leaderboard from the finished cells; cells that are missing show as holes.

    Also while a run is at work: the cells that it has finished so far are read from the store.
    """
    instead = {
        "--compare": compare,
        "--schema": schema,
        "--markdown": markdown,
        "--latex": latex,
        "--charts": charts,
        "--with-study": with_study,
    }
    wanted = [option for option, value in instead.items() if value]
    if len(wanted) > 1:
        raise UserError(f"{' and '.join(wanted)}: each is in the place of the report; give one of them.")
    if compare:
        from bench.commands.results.report import print_comparison

        print_comparison(*compare)
        return
    if schema:
        from bench.commands.results.report import print_schema

        print_schema()
        return
    if markdown or latex or charts:
        from bench.commands.results.export import print_tables, write_chart_files

        print_tables("latex" if latex else "markdown") if charts is None else write_chart_files(charts)
        return
    if with_study is not None:
        study.report_with_study(with_study, open_it)
        return
    from bench.cells.store.held_cells import CHECKOUT_CLAIMS, claimed
    from bench.cells.store.last_checks import last_checks
    from bench.machine.lock import shared
    from bench.protocol.protocol import read_protocol
    from bench.report.leaderboard import write_reports
    from bench.summary.read import laid_out_or_finished

    def refuse(holder: object) -> None:
        raise UserError(f"{holder} is writing the report. Wait until it has ended.")

    # Shared with stages, whose cells appear whole; but one report is written at a time.
    with shared("bench report"), claimed("report", "bench report", refuse, CHECKOUT_CLAIMS):
        file = write_reports(read_protocol(), laid_out_or_finished, last_checks())
    typer.echo(f"leaderboard: {file}")
    if open_it:
        typer.launch(str(file))


app.command("new-method")(methods.new_method)
app.command("check-method")(methods.check_method)
app.command("add-method")(methods.add_method)
app.command("methods")(methods.list_methods)
app.command("update-method")(methods.update_method)
app.command("remove-method")(methods.remove_method)
app.command("add-encoder")(encoders.add_encoder)
app.command("add-reference")(encoders.add_reference)
app.command("add-initialisation")(encoders.add_initialisation)
app.command("export-encoder")(encoders.export_encoder)
app.command("add-dataset")(datasets.add_dataset)
app.command("datasets")(datasets.list_datasets)
app.command("remove-dataset")(datasets.remove_dataset)
app.command("preview")(preview)
app.command("verify")(verify)
app.command("rerun")(rerun)
app.command("audit-data")(trust.audit_data)
app.command("download")(download.download)
app.command("trap")(trust.trap)
app.command("merge")(sharing.merge)
app.command("submit")(sharing.submit)
app.command("review")(sharing.review)
app.command("export")(export.export)
app.command("check")(upkeep.check)
app.command("clean")(upkeep.clean)
app.command("doctor")(upkeep.doctor)


def main() -> None:
    """Entry point: a user's mistake, or a failure of the machine, is one message and exit status 2."""
    sys.exit(exit_status(app, "bench"))


if __name__ == "__main__":
    main()
