"""What ``bench`` and a stage say where they cannot run at all: before anything else is imported."""

import ast
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import bench
from bench.machine import interpreter
from tests.older_python import older_python

ROOT = Path(bench.__file__).parents[1]
# As Python on Windows, which has none of these.
WINDOWS = """
import sys
sys.platform = "win32"
sys.modules.update(dict.fromkeys(("fcntl", "resource", "pwd", "grp", "termios")))
sys.argv = {arguments!r}
from {module} import main
sys.exit(main())
"""
METADATA = """Metadata-Version: 2.4
Name: imssl-bench
Version: 0.1.0
Requires-Dist: rich{rich}
Requires-Dist: no-such-package>=2 ; extra == 'perf'
"""


def python(*arguments, path=(), cwd=None):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("bench.__main__", ["bench", "--help"]),
        ("bench.__main__", ["bench", "repro"]),
        ("bench.stage", ["bench.stage", "inputs"]),
    ],
)
def test_windows_is_answered_with_one_sentence(tmp_path, module, arguments):
    ended = python("-c", WINDOWS.format(module=module, arguments=arguments), cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert "use WSL 2" in line
    assert "container" in line


@pytest.mark.parametrize("version", ["2.7", "3.8", "3.10"])
@pytest.mark.parametrize("module", ["bench", "bench.stage"])
def test_a_python_that_is_too_old_says_so_and_the_ways_out(version, module):
    interpreter = older_python(version)
    if interpreter is None:
        pytest.skip(f"pyenv has no Python {version} here")
    ended = subprocess.run(
        [interpreter, "-B", "-m", module, "inputs"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    for words in (f"(Python {version}.", "needs Python 3.11 or newer", "source .venv/bin/activate"):
        assert words in line


@pytest.mark.parametrize("name", ["__init__", "__main__", "stage", "machine/__init__", "machine/interpreter"])
def test_what_an_older_python_reads_first_is_in_its_language(name):
    """Also where there is no older Python to try it with."""
    tree = ast.parse((ROOT / "bench" / f"{name}.py").read_text(encoding="ascii"))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Match, ast.Starred)
    for node in ast.walk(tree):
        assert not isinstance(node, newer), ast.unparse(node)
        if isinstance(node, ast.FunctionDef):
            assert node.returns is None
            assert not node.args.kwonlyargs
            assert not any(argument.annotation for argument in node.args.args)
    for node in tree.body:
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= {"os", "subprocess", "sys"}
        elif isinstance(node, ast.ImportFrom):
            assert node.module == "bench.machine.interpreter"


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A folder that comes first on the path, and says what the suite asks of other packages."""

    def asking(rich):
        folder = tmp_path / "imssl_bench-0.1.0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(METADATA.format(rich=rich))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")  # the folder of the checkout would come first
        return [tmp_path]

    return asking


def test_a_package_outside_the_bounds_is_one_message_before_a_run(environment):
    path = environment("<1,>=0.5")
    for arguments in (["-m", "bench", "check"], ["-m", "bench.stage", "inputs"]):
        ended = python(*arguments, path=path)
        assert (ended.returncode, ended.stdout) == (2, "")
        (line,) = ended.stderr.splitlines()
        assert "rich" in line
        assert "is not <1,>=0.5" in line
        assert "make setup" in line


def test_a_package_that_fails_as_it_is_outside_the_bounds_is_one_message(environment, tmp_path):
    path = environment("<1")
    (tmp_path / "typer.py").write_text("raise TypeError('Parameter.make_metavar() missing 1 argument')\n")
    ended = python("-m", "bench", "--help", path=path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "rich" in ended.stderr


def test_what_fails_within_the_bounds_is_no_fault_of_the_packages(environment, tmp_path):
    path = environment(">=1")
    (tmp_path / "typer.py").write_text("raise TypeError('a mistake')\n")
    ended = python("-m", "bench", "--help", path=path)
    assert ended.returncode == 1
    assert "TypeError: a mistake" in ended.stderr


def test_a_python_without_the_command_lines_libraries_says_so():
    ended = subprocess.run(
        [sys.executable, "-S", "-E", "-m", "bench", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "typer, rich" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_checkout_that_is_not_installed_is_not_questioned(monkeypatch):
    def not_installed(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", not_installed)
    assert interpreter.packages_outside_bounds() == ""
