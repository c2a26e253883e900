"""Where method files lie: the suite's in imssl/methods, a project's own in methods beside params.yaml.

An own file is imported as a module of imssl.methods, and its code is noted under that name: so a cell has the
same key whether its method lies in a checkout of the suite or in a project that uses an installed one.
Nothing here imports the project's modules.
"""

import os
from functools import cache
from pathlib import Path

import imssl

SUITE = Path(imssl.__file__).parent
# For a process that checks a method and so runs in an empty folder.
PROJECT_VARIABLE = "IMSSL_BENCH_PROJECT"


def project() -> Path:
    """The project's folder: the current one, but in a process that was given another."""
    return Path(os.environ.get(PROJECT_VARIABLE) or Path.cwd())


def own_methods() -> Path:
    """The folder of the project's own method files; it need not exist."""
    return _own_methods(os.environ.get(PROJECT_VARIABLE) or os.getcwd())  # noqa: PTH109 - it is asked often


@cache
def _own_methods(folder: str) -> Path:
    # A scratch project has a link to the folder.
    return (Path(folder) / "methods").resolve()


def is_checkout() -> bool:
    """Whether the project is a checkout of the suite, in which added methods become files of the suite."""
    return SUITE.resolve().parent == project().resolve()


def own_method_files() -> list[Path]:
    """The project's own method files."""
    return sorted(own_methods().glob("*.py"))
