"""Which Python runs a stage: the one that DVC itself runs on, whatever ``python3`` is on the path.

dvc.yaml says ``python3``, as a path of one machine must not stand there. Without the environment activated,
that may be a Python without the suite's libraries, with others than those that DVC's has, or one that is too
old for the suite. So this module is in the language of Python 2.7 and imports no other of the suite.
"""

import os
import subprocess
import sys

# Without any of these no stage can start.
NEEDED = ("numpy", "pandas", "pydantic", "ruamel.yaml", "torch")
OLDEST = (3, 11)
ALREADY_TAKEN = "IMSSL_BENCH_INTERPRETER"
HIGHEST = 6  # processes between DVC and a stage: a shell or two
WAYS_OUT = (
    "Either activate the environment in which the suite is installed (such as: source .venv/bin/activate) "
    "and run dvc repro again, or run bench repro of that environment, such as .venv/bin/bench repro; if it "
    "is not installed at all, run: make setup"
)


def use_dvcs_interpreter():
    # type: () -> None
    """Start anew on DVC's interpreter where that is another one."""
    if os.environ.pop(ALREADY_TAKEN, ""):
        return
    interpreter = _dvcs_interpreter(os.getppid(), HIGHEST)
    if interpreter is None or _prefix(interpreter) == _prefix(sys.executable):
        return
    if not _has_libraries(interpreter):  # DVC may be installed on its own, beside the suite
        return
    # The environment of DVC's interpreter comes first for what the stage starts in turn.
    environment = os.environ.copy()
    environment["PATH"] = os.path.dirname(interpreter) + os.pathsep + environment.get("PATH", "")
    environment[ALREADY_TAKEN] = "1"
    os.execve(interpreter, [interpreter, "-m", "bench.stage"] + sys.argv[1:], environment)


def too_old(what):
    # type: (str) -> str
    """A message where this Python cannot read the suite's code; empty where it can.

    Args:
        what: was started, in words.
    """
    if sys.version_info[:2] >= OLDEST:
        return ""
    oldest = ".".join(map(str, OLDEST))
    return "{}, but needs Python {} or newer. {}".format(_started(what), oldest, WAYS_OUT)


def missing_libraries(what, more=()):
    # type: (str, tuple[str, ...]) -> str
    """A message where this Python lacks what the suite needs; empty where it has everything.

    Args:
        what: was started, in words.
        more: packages that it needs beside those of every stage.
    """
    missing = [name for name in NEEDED + tuple(more) if not _is_installed(name)]
    return "{}, which lacks {}. {}".format(_started(what), ", ".join(missing), WAYS_OUT) if missing else ""


def packages_outside_bounds():
    # type: () -> str
    """A message where packages are missing or have other versions than this suite's metadata allow.

    Empty where all are within the bounds, and where nothing can be said: in a checkout that is not installed.
    """
    outside = outside_bounds()
    if not outside:
        return ""
    return (
        "packages of this environment ({}) do not fit: {}. Install what fits: make setup in a checkout, or "
        "pip install --upgrade imssl-bench."
    ).format(sys.prefix, "; ".join(outside))


def outside_bounds():
    # type: () -> list[str]
    """The packages that are missing or of another version than this suite's metadata ask for, in words."""
    # Imported here: they take longer than the start of a stage.
    from importlib.metadata import PackageNotFoundError, requires, version

    try:
        from packaging.requirements import Requirement

        requirements = [Requirement(line) for line in requires("imssl-bench") or []]
    except ImportError as error:  # also where the suite itself is not installed
        return ["packaging is missing"] if error.name == "packaging" else []
    outside = []
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            outside.append("{} is missing".format(requirement.name))
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            outside.append("{} {} is not {}".format(requirement.name, installed, requirement.specifier))
    return outside


def command_and_parent(process):
    # type: (int) -> tuple[list[str], int] | None
    """The command line of a process and the number of its parent; None where nobody can tell.

    The portable way (IMSSL_BENCH_PORTABLE=1 on Linux) is ps(1), as psutil may not be installed for the Python
    that asks.
    """
    try:
        if sys.platform.startswith("linux") and os.environ.get("IMSSL_BENCH_PORTABLE", "") != "1":
            command = _content("/proc/{}/cmdline".format(process))
            # The name, in parentheses, may hold spaces.
            fields = _content("/proc/{}/stat".format(process)).rpartition(")")[2].split()
            return command.split("\0"), int(fields[1])
        asked = ["ps", "-o", "ppid=,args=", "-p", str(process)]
        words = _text(subprocess.check_output(asked)).split()
        return words[1:], int(words[0])
    except (IOError, OSError, ValueError, IndexError, subprocess.CalledProcessError):
        return None


def _content(file):
    # type: (str) -> str
    with open(file, "rb") as stream:
        return _text(stream.read())


def _text(content):
    # type: (bytes) -> str
    return str(content) if str is bytes else os.fsdecode(content)


def _dvcs_interpreter(process, left):
    # type: (int, int) -> str | None
    """The interpreter of the nearest process above this one that is DVC; None where there is none."""
    if process <= 1 or left == 0:
        return None
    known = command_and_parent(process)
    if known is None or not known[0]:
        return None
    interpreter, arguments, parent = known[0][0], known[0][1:], known[1]
    is_dvc = arguments[:2] == ["-m", "dvc"] or (bool(arguments) and os.path.basename(arguments[0]) == "dvc")
    if is_dvc and os.path.isabs(interpreter) and os.access(interpreter, os.X_OK):
        return interpreter
    return None if is_dvc else _dvcs_interpreter(parent, left - 1)


def _prefix(interpreter):
    # type: (str) -> str
    """The environment that an interpreter belongs to; a virtual one has a link to the interpreter in it."""
    return os.path.realpath(os.path.dirname(interpreter))


def _has_libraries(interpreter):
    # type: (str) -> bool
    program = (
        "import sys; from importlib.util import find_spec; "
        "sys.exit(sys.version_info[:2] < {!r} or not all(map(find_spec, {!r})))"
    ).format(OLDEST, NEEDED)
    with open(os.devnull, "w") as nowhere:
        return subprocess.call([interpreter, "-c", program], stdout=nowhere, stderr=nowhere) == 0


def _started(what):
    # type: (str) -> str
    return "{} was started by {} (Python {})".format(what, sys.executable, sys.version.split()[0])


def _is_installed(name):
    # type: (str) -> bool
    from importlib.util import find_spec  # Python 2.7 has none, and is refused before

    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
