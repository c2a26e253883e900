"""``bench tune``: look for a method's settings on validation images, with one budget for all methods."""

from typing import Annotated

import typer
from rich.table import Table

from bench.commands.terminal.console import complete_method, console


def tune(
    method: Annotated[
        str,
        typer.Argument(
            help="Name of a method in params.yaml.", show_default=False, autocompletion=complete_method
        ),
    ],
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Sets of values that are tried, in the place of tune.trials in params.yaml; give every "
            "method as many.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the search.")] = 0,
) -> None:
    """Search a method's settings, and write the best into params.yaml.

    What is searched, its file declares (Tuned) beside the optimiser's values. A trial pretrains on every data
    set of params.yaml, with a seed of its own, and is judged on validation images, by nearest neighbours or a
    linear classifier (tune.judge); test images are never looked at. The first trial has the values of
    params.yaml. Finished trials are kept, so the same command goes on after a stop. A second search begins
    with what the first has chosen, and its trials are added to the list in reports/tuning/; the leaderboard
    says how many each method had in all.
    """
    from threadpoolctl import threadpool_limits

    from bench.machine.lock import alone
    from bench.methods.tuned import trials_file
    from bench.tuning.tune import tune_method

    try:
        # NumPy's BLAS on one thread, as in a stage.
        with alone(f"bench tune {method}"), threadpool_limits(1, user_api="blas"):
            tuned = tune_method(method, trials, seed, report=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        typer.echo("stopped; finished trials are kept, the same command continues from them", err=True)
        raise typer.Exit(130) from None
    table = Table("setting", "before", "chosen", box=None, pad_edge=False)
    for searched in tuned.ranges:
        table.add_row(searched.name, f"{searched.current:g}", f"{tuned.chosen.values[searched.name]:g}")
    console().print(table)
    typer.echo(
        f"Trial {tuned.chosen.number + 1} of {len(tuned.trials)} is the best on validation images: "
        f"{tuned.chosen.judged.score:.4f}; the values of params.yaml had "
        f"{_score(tuned.trials[0].judged.score)}. All are listed in {trials_file(method)}."
    )
    if tuned.learns is False:
        typer.echo(
            f"warning: an untrained encoder has {tuned.untrained:.4f}, so no trial shows {method} to learn: "
            "the best may be the one that changes the encoder least. Try longer trials (tune.length), and "
            "look at the training curves, before you rest anything on this choice.",
            err=True,
        )
    if tuned.changed:
        typer.echo(f"The row {method} of params.yaml holds the chosen values. Run: dvc repro")
    else:
        typer.echo("params.yaml holds them already. Bring the leaderboard up to date with: bench report")


def _score(score: float | None) -> str:
    return "none, as they failed" if score is None else f"{score:.4f}"
