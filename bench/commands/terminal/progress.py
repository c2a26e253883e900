"""How far a command is: a bar on a terminal, and one line for each kind of work where there is none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress_of(command: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on standard error while the block runs.

    Args:
        command: that is at work.

    Yields:
        A function to be called with what is being done, how many of its parts are done, and of how many.
    """
    errors = Console(stderr=True, highlight=False)
    if not errors.is_terminal:
        yield _lines(errors, command)
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    # Without a thread that draws: the work forks processes, and a thread does not survive a fork.
    with Progress(*columns, console=errors, transient=True, auto_refresh=False) as bars:
        bar = bars.add_task(command, total=None)

        def on_progress(doing: str, done: int, total: int) -> None:
            bars.update(bar, description=f"{command}: {doing}", completed=done, total=total, refresh=True)

        yield on_progress


def _lines(errors: Console, command: str) -> Callable[[str, int, int], None]:
    begun = set[str]()

    def on_progress(doing: str, done: int, total: int) -> None:
        if doing not in begun:
            begun.add(doing)
            errors.print(f"{command}: {doing}", markup=False, soft_wrap=True)

    return on_progress
