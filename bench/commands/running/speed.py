"""``bench perf`` and ``bench plan``: how fast this machine is, and how long a run will take."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from bench.commands.terminal.console import console
from bench.commands.terminal.duration import duration
from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.forecast.makespan import Makespan

# Two points of AUROC or kappa: about what separates neighbours on a leaderboard.
DEFAULT_EFFECT = 0.02


def perf(
    against: Annotated[
        Literal["lightly"] | None,
        typer.Option(help="Also measure lightly's MoCo v2 (install it: pip install 'imssl-bench\\[perf]')."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Fewer repetitions, and the smallest images only: two or three minutes."
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this group only (may be repeated): pretraining, sharing, augmentation, finetuning, "
            "probes, analyses, costs; or memory, which is left out otherwise (minutes, 6 GB of disk)."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads for torch; by default one per core.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the table as Markdown to this file.")
    ] = None,
) -> None:
    """Measure the suite on this machine, and print a table.

    Each figure is a median with its quartiles. What is compared takes turns, round by round, so that the
    ratios hold even on a busy machine; the figures themselves need an idle one. Device and precision are
    those of params.yaml.
    """
    from bench.machine.system import cores
    from bench.perf import suite, table
    from bench.perf.timing import FULL, QUICK
    from bench.protocol.protocol import read_protocol
    from imssl.durable import write_text

    protocol = read_protocol()
    threads = threads or cores()
    errors = Console(stderr=True)
    machine = suite.describe_machine(protocol.hardware, threads)
    with errors.status("measuring") as status:
        groups = tuple(only or suite.GROUPS)
        measured = suite.measure(
            QUICK if quick else FULL,
            protocol,
            threads,
            against,
            groups,
            lambda group: status.update(f"measuring: {group}"),
        )
        rows = []
        for row in measured:
            rows.append(row)
            errors.print(f"{row.group}: {row.name}: {table.in_words(row)}", style="dim", highlight=False)
    title = f"{machine['device']}, {machine['precision']}, torch {machine['torch']}"
    if markdown is not None:
        write_text(markdown, f"{title}\n\n{table.as_markdown(rows)}\n")
    if as_json:
        typer.echo(json.dumps(table.as_json(rows, machine), indent=1))
    else:
        console().print(table.as_table(rows, title))


def plan(
    seconds: Annotated[
        float, typer.Option(min=1.0, max=600.0, help="Time for measuring this machine before predicting.")
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    machines: Annotated[
        str | None,
        typer.Option(
            help="Say instead how long all cells would take on a cluster: 64x1gpu (64 machines of one GPU) "
            "or 16x8 (16 machines, eight cells on the processors of each)."
        ),
    ] = None,
    power: Annotated[
        bool,
        typer.Option("--power", help="Say what differences the seeds and patients can show instead."),
    ] = False,
    effect: Annotated[
        float | None,
        typer.Option(min=0.0001, max=1.0, help="A difference that you want to find (with --power; 0.02)."),
    ] = None,
    pilot: Annotated[
        Path | None,
        typer.Option(
            help="Take the scatter from this results.json instead of finished cells (with --power)."
        ),
    ] = None,
) -> None:
    """Predict what [bold]dvc repro[/] would do for params.yaml: cells to compute, time and disk space.

    Finished cells are not counted, but the time they took corrects the prediction for the missing ones. With
    [bold]--power[/]: the smallest difference to the baseline that the corrected tests would find with 80%
    probability, and how many seeds a wanted one needs. With [bold]--machines[/]: the time on a cluster,
    beside what no order of the cells can beat.

    Raises:
        UserError: an option of --power without it, or machines that are not written as they have to be.
    """
    if machines is not None and power:
        raise UserError("--machines and --power are two questions; ask one at a time")
    if power:
        from bench.commands.running.power import print_power

        print_power(effect or DEFAULT_EFFECT, pilot, as_json)
        return
    if effect is not None or pilot is not None:
        raise UserError("--effect and --pilot belong to: bench plan --power")
    import os

    from bench.cells.keys import Keys
    from bench.forecast.estimate import RunEstimate
    from bench.forecast.makespan import makespan, parse_machines
    from bench.forecast.plan import at_once_here
    from bench.forecast.plan import plan as plan_of
    from bench.perf.calibration import calibrate
    from bench.protocol.protocol import read_protocol
    from bench.trust.run_check import mistakes

    protocol = read_protocol()
    cluster = None if machines is None else parse_machines(machines)
    keys = Keys(protocol)
    costs = None
    if RunEstimate(keys).seconds_left:
        with Console(stderr=True).status(f"measuring this machine for about {seconds:.0f} s"):
            try:
                costs = calibrate(protocol, seconds)
            except UserError as error:
                # A method knows its own numbers only; this knows the data set and the key in params.yaml.
                raise UserError("\n".join(mistakes(protocol)) or str(error)) from None
    if cluster is not None:
        _print_makespan(makespan(RunEstimate(keys, costs=costs), cluster), machines or "", as_json)
        return
    workers = at_once_here(protocol, os.cpu_count() or 1)
    planned = plan_of(protocol, RunEstimate(keys, costs=costs), workers)
    if as_json:
        typer.echo(json.dumps(asdict(planned) | {"workers": workers}, indent=1))
        return
    table = Table("stage", "cells", "finished", "to run", "time, one after another", box=None, pad_edge=False)
    for stage in planned.stages:
        finished = str(stage.cells - stage.missing)
        table.add_row(stage.stage, str(stage.cells), finished, str(stage.missing), duration(stage.seconds))
    out = console()
    out.print(table)
    adopted = sum(stage.adopted for stage in planned.stages)
    if adopted:
        out.print(f"\n{adopted} of the finished cells lie in results/ only, and are brought into the store")
    out.print(
        f"\nabout [bold]{duration(planned.seconds)}[/] with {workers} cells side by side, "
        f"{duration(planned.overhead)} of it for starting processes, DVC and the report; "
        f"{planned.bytes / 2**20:,.0f} MiB of disk space"
    )
    if planned.unprepared:
        out.print(f"not included: preparing the images of {', '.join(planned.unprepared)}")


def _print_makespan(run: "Makespan", machines: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(run) | {"machines": machines}, indent=1))
        return
    table = Table("stage", "time, one after another", box=None, pad_edge=False)
    for stage, seconds in run.stage_seconds.items():
        table.add_row(stage, duration(seconds))
    out = console()
    out.print(table)
    out.print(
        f"\nall {run.cells:,} cells on {machines}: about [bold]{duration(run.seconds)}[/], simulated; no "
        f"order can beat {duration(run.lower_bound)} ({run.efficiency:.0%} of the time)\n"
        f"bottleneck: {run.bottleneck}\n"
        f"data: {run.data_bytes / 2**20:,.0f} MiB of prepared images; every machine reads a data set once "
        "from the shared folder, or is sent it through Ray's object store; at 1 GB/s for all of them "
        f"together cells wait {duration(run.data_seconds)} for them in all"
    )
