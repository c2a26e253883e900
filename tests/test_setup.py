"""What a machine must have, and what the set-up says where it has not."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
# What Python took out of its library between 3.11 and 3.14 ("What's new" of 3.12, 3.13 and 3.14).
GONE = {
    "aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp",
    "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd",
    "sunau", "telnetlib", "uu", "xdrlib",
}  # fmt: skip
MODULES = sorted(path for package in ("bench", "imssl") for path in (ROOT / package).rglob("*.py"))


def test_pip_and_uv_install_the_same_versions():
    pinned = [line.removesuffix(" \\") for line in LOCK.splitlines() if line and not line[0].isspace()]
    assert PROJECT["tool"]["uv"]["constraint-dependencies"] == pinned


def test_every_locked_package_has_a_hash_and_no_address():
    packages = re.split(r"\n(?=\S)", LOCK.strip())
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in LOCK


def test_what_pip_selects_by_platform_is_in_the_lock():
    # CUDA for Linux only; on macOS and ARM the same lock brings what is there.
    assert re.search(r"^triton==.*sys_platform == 'linux'", LOCK, re.MULTILINE)
    assert re.search(r"^nvidia-cudnn.*sys_platform == 'linux'", LOCK, re.MULTILINE)


def test_every_direct_dependency_has_a_lower_bound():
    for requirement in PROJECT["project"]["dependencies"]:
        assert re.search(r">=|==", requirement), requirement
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_dvc_is_one_that_works_with_the_pathspec_of_today():
    """3.60 to 3.65 import a name that pathspec no longer has; 3.66.0 was tried."""
    (dvc,) = (each for each in PROJECT["project"]["dependencies"] if re.match(r"dvc\b(?!-)", each))
    assert dvc == "dvc>=3.66"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_python_has_removed_is_imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & GONE
        # Python 3.14 changed how multiprocessing starts a process by default, so every use names its way.
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "multiprocessing":
            assert node.attr == "get_context"


def test_workflows_are_linted_by_a_fixed_version():
    """By its image: the package on PyPI is no wheel, but fetches a program from GitHub when it is built."""
    steps = YAML(typ="safe").load(ROOT / ".github/workflows/tests.yml")["jobs"]["lint"]["steps"]
    assert any(re.match(r"docker://rhysd/actionlint:\d+\.\d+\.\d+$", step.get("uses", "")) for step in steps)


def test_workflows_call_what_there_is():
    workflows = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert workflows
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for workflow in workflows:
        for job in YAML(typ="safe").load(workflow)["jobs"].values():
            for step in job["steps"]:
                for target in re.findall(r"^make ([a-z-]+)(?!.*\$\{\{)", step.get("run", "")):
                    assert target in targets, f"{workflow.name}: make {target}"
                for script in re.findall(r"\.ci/[a-z-]+", step.get("run", "")):
                    assert os.access(ROOT / script, os.X_OK), f"{workflow.name}: {script}"


@pytest.fixture
def checkout(tmp_path):
    """A checkout that is not set up, with a PATH of its own that holds no Python."""
    (tmp_path / ".ci").mkdir()
    for name in (".ci/setup", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "sed", "cat", "rm", "dirname", "pwd", "head", "awk"):
        (tools / tool).symlink_to(shutil.which(tool))
    return tmp_path


def set_up(checkout, **variables):
    environment = {"PATH": str(checkout / "tools"), "HOME": str(checkout), **variables}
    return subprocess.run(
        [checkout / ".ci/setup"], env=environment, cwd=checkout, capture_output=True, text=True, timeout=600
    )


def program(checkout, name, lines):
    path = checkout / "tools" / name
    path.write_text("#!/bin/sh\n" + lines, encoding="utf-8")
    path.chmod(0o755)


def refused(result):
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_machine_without_python_is_told_what_to_install(checkout):
    assert "apt install python3" in refused(set_up(checkout))


def test_an_old_python_is_no_python(checkout):
    program(checkout, "python3", "exit 1\n")
    assert "no Python 3.11 or newer was found" in refused(set_up(checkout))


def test_a_python_that_was_named_and_is_not_there(checkout):
    assert "PYTHON=python9 cannot be started" in refused(set_up(checkout, PYTHON="python9"))


def test_a_python_without_venv_names_the_package(checkout):
    program(checkout, "python3", f'case "$1" in -c) exec {sys.executable} "$@" ;; *) exit 1 ;; esac\n')
    assert "apt install python3-venv" in refused(set_up(checkout))


def test_an_unknown_build_of_torch_is_refused(checkout):
    assert "TORCH=rocm: give cpu" in refused(set_up(checkout, TORCH="rocm"))


def test_what_is_set_up_is_left_alone(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv/.installed").write_text("lock\n", encoding="utf-8")
    result = set_up(checkout)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
