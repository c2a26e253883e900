"""The command ``bench``, also as ``python -m bench``.

Nothing outside the standard library is imported before it is known that it can be, and this file is in the
language of Python 2.7, so that an older Python can say that it is too old.
"""

import os
import sys

from bench.machine.interpreter import missing_libraries, packages_outside_bounds, too_old

# Before these the packages are looked at, which takes as long as all else that a short command does; before
# any other only where it has failed.
LOOKED_AT_FIRST = {"check", "plan", "repro", "run"}
# Beside those of every stage.
NEEDED_HERE = ("typer", "rich")


def main():
    # type: () -> None
    """Run the command, or say in one message why it cannot run here."""
    _stop(too_old("bench"))
    from bench.machine.failures import unsupported_system

    _stop(unsupported_system())
    _stop(missing_libraries("bench", NEEDED_HERE))
    if sys.argv[1:2] and sys.argv[1] in LOOKED_AT_FIRST:
        _stop(packages_outside_bounds())
    try:
        from bench.cli import main as run_command

        run_command()
    except Exception:
        _stop(packages_outside_bounds())
        raise


def _stop(problem):
    # type: (str) -> None
    if problem:
        sys.stderr.write("error: {}\n".format(problem))
        sys.exit(2)


if __name__ == "__main__":
    # `-m` looks for modules in the current folder first. Inside imssl/ that would find its queue.py where a
    # library means Python's own; in a checkout's root the folder is where bench itself is found.
    if not os.path.isfile(os.path.join("bench", "__init__.py")):
        here = os.path.realpath(os.getcwd())
        sys.path[:] = [place for place in sys.path if os.path.realpath(place or ".") != here]
    main()
