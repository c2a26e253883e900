"""The console on which the commands print their tables."""

from rich.console import Console

# A pipe has no width, and a table folded to 80 columns is hard to read and to search.
PIPE_WIDTH = 200


def console() -> Console:
    """A console on standard output, as wide as the terminal, or 200 columns wide if there is none."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=PIPE_WIDTH)
