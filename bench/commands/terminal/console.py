"""The console: where tables are printed, how verbs are listed, found and completed, and in which folder."""

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from rich.console import Console
from typer.core import TyperGroup

from imssl.errors import UserError

# A pipe has no width, and a table folded to 80 columns is hard to read and to search.
PIPE_WIDTH = 200

# What the help lists together. A verb that is not named here stands under the last heading.
PANELS = {
    "Set up": ("init", "profile", "use", "list", "check", "doctor", "download"),
    "Data sets and methods": (
        "add-dataset", "audit-data", "datasets", "preview", "remove-dataset",
        "new-method", "check-method", "add-method", "methods", "update-method", "remove-method",
        "add-encoder", "add-initialisation", "add-reference", "export-encoder",
    ),
    "Run and results": ("plan", "repro", "run", "status", "report", "export", "merge", "tune"),
    "Trust": ("verify", "trap", "rerun", "submit", "review"),
}  # fmt: skip
OTHER_PANEL = "Machine and upkeep"
# Verbs that need no project: they write into, or read from, the folder in which they are called.
ANYWHERE = {"init", "list", "new-method", "check-method", "doctor"}


def console() -> Console:
    """A console on standard output, as wide as the terminal, or 200 columns wide if there is none."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


class Verbs(TyperGroup):
    """Verbs in alphabetical order below headings, each of which works in the project's folder."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        headings = {verb: heading for heading, verbs in PANELS.items() for verb in verbs}
        for name, command in self.commands.items():
            command.rich_help_panel = headings.get(name, OTHER_PANEL)  # type: ignore[attr-defined]
            if not isinstance(command, TyperGroup) and name not in ANYWHERE and command.callback:
                command.callback = _in_project(command.callback, name)

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs below each heading, from A to Z."""
        order = [*PANELS, OTHER_PANEL]

        def place(name: str) -> tuple[int, str]:
            return order.index(getattr(self.commands[name], "rich_help_panel", OTHER_PANEL)), name

        return sorted(self.commands, key=place)


def _in_project(verb: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(verb)
    def run(**values: Any) -> Any:
        here, project = Path.cwd(), project_folder()
        # `bench profile use` begins a project; a schema and the list of traps are the same everywhere.
        only_tells = values.get("schema") or (name == "trap" and values.get("name") is None)
        if project is None and name != "use" and not only_tells:
            raise UserError(
                f"params.yaml not found in {here} or any folder above it, so this is no project's "
                "folder. Go to one, or make one with: bench init DIR"
            )
        if project in (None, here):
            return verb(**values)
        # By their annotation, as some versions of Typer hand over a path as text.
        hints = get_type_hints(inspect.unwrap(verb))
        paths = [key for key, hint in hints.items() if Path in (hint, *get_args(hint))]
        from_here = values | {key: _meant(values[key]) for key in paths if values.get(key) is not None}
        with contextlib.chdir(project):
            return verb(**from_here)

    return run


def _meant(path: str | Path) -> str | Path:
    """A path that the user has named is meant from where they are; ~ and $VARIABLE are put in by the verb."""
    return path if str(path).startswith(("~", "$")) else Path(path).absolute()


def project_folder() -> Path | None:
    """The nearest folder with a params.yaml, from this one upwards as git and DVC look.

    It may be no file but a pipe, say: who reads it says so.
    """
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "params.yaml").exists()), None)


def say_version(wanted: bool) -> None:
    """Print the version, and end, where it is asked for."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"imssl-bench {version('imssl-bench')}")
        raise typer.Exit


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Print nothing on standard output meanwhile; messages on standard error stay."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def complete_method(incomplete: str) -> list[str]:
    """Methods of params.yaml that begin so."""
    return _beginning(incomplete, "methods")


def complete_dataset(incomplete: str) -> list[str]:
    """Data sets of params.yaml that begin so."""
    return _beginning(incomplete, "datasets")


def complete_cell(incomplete: str) -> list[str]:
    """Cells that begin so, up to the next part of their names: a run has thousands."""
    from bench.protocol.cell import all_cells
    from bench.protocol.protocol import read_protocol

    project = project_folder()
    with contextlib.suppress(UserError):  # a shell that completes has no place for a message
        if project is not None:
            names = [cell.name for cell in all_cells(read_protocol(project / "params.yaml"))]
            return _next_parts([name for name in names if name.startswith(incomplete)], incomplete)
    return []


def complete_profile(incomplete: str) -> list[str]:
    """Profiles that begin so."""
    from bench.protocol.profile import profiles

    return [profile.name for profile in profiles() if profile.name.startswith(incomplete)]


def complete_trap(incomplete: str) -> list[str]:
    """Traps that begin so."""
    from bench.trust.traps import TRAPS

    return [name for name in TRAPS if name.startswith(incomplete)]


def _beginning(incomplete: str, section: str) -> list[str]:
    from bench.protocol.params_file import read_params

    project = project_folder()
    # A shell that completes has no place for a message.
    with contextlib.suppress(UserError, AttributeError):
        if project is not None:
            names = read_params(project / "params.yaml").get(section, {})
            return [str(name) for name in names if str(name).startswith(incomplete)]
    return []


def _next_parts(names: list[str], incomplete: str) -> list[str]:
    """Names as far as the first part in which they differ; a single name is whole."""
    depth = incomplete.count("/")
    while len(begun := list(dict.fromkeys("/".join(name.split("/")[: depth + 1]) for name in names))) == 1:
        if begun == names:
            break
        depth += 1
    return [name if name in names else f"{name}/" for name in begun]
