"""``bench run``, ``bench repro`` and ``bench status``: bring every result up to date, and follow that."""

import contextlib
import json
import re
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.live import Live

from bench.protocol.nearest_name import did_you_mean
from bench.tracking.tracker import PACKAGES, refuse_missing
from imssl.errors import UserError

ENGINES = ("local", "ray", "slurm")
# Between two looks of `bench status` at a run.
STATUS_SECONDS = 1.0


def run(
    on: Annotated[str, typer.Option(help=f"Where cells are computed: {', '.join(ENGINES)}.")] = "local",
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these cells and what they build on, as STAGE/DATASET/METHOD or "
            "STAGE/DATASET/METHOD/SEED with wildcards, such as 'pretrain/*/moco'; several times or separated "
            "by commas."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cells side by side; as many as fit where it is not given.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of a running cluster of Ray, such as auto or 10.0.0.1:6379; without it, that of "
            "cluster.yaml, or Ray is started here."
        ),
    ] = None,
    cells_per_gpu: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cells that share a GPU; by default four with images of up to 64 pixels, else one.",
        ),
    ] = None,
    by_chain: Annotated[
        bool,
        typer.Option(
            "--by-chain",
            help="Finish all stages of a method on a data set with a seed before the next are begun, so "
            "that a stop leaves few half-done.",
        ),
    ] = False,
    no_repro: Annotated[bool, typer.Option("--no-repro", help="Do not run dvc repro at the end.")] = False,
    log: Annotated[
        str | None,
        typer.Option(
            help=f"Log the training curves, as they grow, to one of: {', '.join(PACKAGES)}. It changes no "
            "number, and needs the extra of that name."
        ),
    ] = None,
) -> None:
    """Compute every missing cell, of all stages side by side, then let [bold]dvc repro[/] lay them out.

    On the processors and GPUs of this machine, on Ray or on Slurm (cluster.yaml says what jobs ask for). How
    far it is, [bold]bench status[/] shows from another terminal.

    Raises:
        UserError: an option that is not the engine's, or a tracker that is not installed.
    """
    from bench.launch.fill_store import FillRequest
    from bench.launch.repro import run as run_request
    from bench.tracking.follow import logging_to

    if on not in ENGINES:
        raise UserError(
            f"--on {on}: there is no such engine. There are: {', '.join(ENGINES)}.{did_you_mean(on, ENGINES)}"
        )
    patterns = tuple(part for text in only or [] for part in re.split(r"[,\s]+", text) if part)
    if address is not None and on != "ray":
        raise UserError(f"--address belongs to --on ray, not to --on {on}")
    request = FillRequest(on, patterns, workers, address, cells_per_gpu, by_chain)
    if log is not None:
        refuse_missing(log)
    with logging_to(log):
        status = run_request(request, then_repro=not no_repro)
    raise typer.Exit(status)


def repro(context: typer.Context) -> None:
    """Bring every result up to date, then say where the leaderboard is.

    Missing cells are computed first, side by side ([bold]bench run[/]); [bold]dvc repro[/] then lays out
    all.
    With arguments it is [bold]dvc repro[/] with the same arguments and nothing else.
    """
    from bench.launch.repro import run_dvc_repro

    raise typer.Exit(run_dvc_repro(context.args))


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: counts, running cells with their curves, failures.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Print it once, also on a terminal, and do not follow the run.")
    ] = False,
) -> None:
    """Show how far the run of this project is, from another terminal or another machine.

    How many cells run, wait, are done and have failed, cells a minute, the time left, and the running cells
    with their training curves. On a terminal it follows the run until that ends, or until Ctrl-C.
    """
    from bench.commands.terminal.console import console
    from bench.forecast.run_status import run_status
    from bench.forecast.status_view import as_renderable
    from bench.protocol.protocol import read_protocol

    protocol, out = read_protocol(), console()
    state = run_status(protocol)
    if as_json:
        typer.echo(json.dumps(asdict(state), indent=1))
        return
    if once or not out.is_terminal:
        out.print(as_renderable(state))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(as_renderable(state), console=out) as live:
        while state.running or state.engine:
            time.sleep(STATUS_SECONDS)
            state = run_status(protocol)
            live.update(as_renderable(state))
