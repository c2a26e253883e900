"""``bench init``: begin a project."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.terminal.console import complete_profile


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the project; may be new.", show_default=False)],
    profile: Annotated[
        str, typer.Option(help="What params.yaml is written from.", autocompletion=complete_profile)
    ] = "demo",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the data sets, laid out as their owners publish them.")
    ] = None,
    no_git: Annotated[
        bool, typer.Option("--no-git", help="Do not begin a repository of Git where there is none.")
    ] = False,
) -> None:
    """Write a project in which every command works: params.yaml, dvc.yaml, DVC's settings, methods/.

    A checkout of the suite is a project already. In this one methods/ holds your own method files.
    """
    from bench.project.initialise import initialise

    for note in initialise(folder, profile, data_dir, wants_git=not no_git):
        typer.echo(note)
    typer.echo(f"Go there with: cd {folder}")
