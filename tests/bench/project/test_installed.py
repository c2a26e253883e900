"""A built wheel in a fresh environment, and a project beside it in which the commands work."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import bench

ROOT = Path(bench.__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / "dvc.yaml").is_file() or shutil.which("git") is None, reason="needs a checkout"
    ),
]
FILES = ("pyproject.toml", "README.md", "LICENSE", "dvc.yaml", ".dvcignore", ".gitattributes")
OWN = '"""Mine."""\n\nfrom .random_init import RandomInit\n\n\nclass Mine(RandomInit):\n    """As it is."""\n'


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The folder of an environment with the wheel, and the libraries of this one beside it."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    for name in ("bench", "imssl", ".dvc"):
        unwanted = shutil.ignore_patterns("__pycache__", "tmp", "cache", "checked")
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    uv = [sys.executable, "-m", "uv", "--quiet", "--offline"]  # an environment that uv has made has no pip
    here = ["--no-build-isolation", "--python", sys.executable]
    subprocess.run([*uv, "build", "--wheel", *here, "--out-dir", str(folder), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (built,) = folder.glob("*.whl")
    python = str(folder / "venv" / "bin" / "python")
    subprocess.run([*uv, "pip", "install", "--no-deps", "--python", python, str(built)], check=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv"


def test_a_project_beside_an_installed_suite(environment, tmp_path, tiny):
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "IMSSL_BENCH_WARM_START": "0",
    }

    def run(*command: str, folder: Path = tmp_path / "study") -> str:
        ended = subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    dvc = (str(environment / "bin" / "python"), "-m", "dvc")
    assert "imssl-bench" in run("bench", "--version", folder=tmp_path)
    run("bench", "init", "study", folder=tmp_path)
    study = tmp_path / "study"
    # One data set and one method, besides the user's own.
    text = tiny[: tiny.index("  fundus:")] + "\n" + tiny[tiny.index("methods:") :]
    text = text[: text.index("  moco-barlow:")] + "\n" + text[text.index("encoder:") :]
    (study / "params.yaml").write_text(text.replace("[0.5, 1.0]", "[1.0]"))
    (tmp_path / "mine.py").write_text(OWN)
    added = run("bench", "add-method", "--no-check", str(tmp_path / "mine.py"))
    assert "its file is methods/mine.py" in added
    assert (study / "methods" / "mine.py").read_text() == OWN
    assert not list((environment / "lib").rglob("imssl/methods/mine.py"))
    assert "mine" in run("bench", "methods")
    assert "leaderboard:" in run("bench", "repro")
    assert (study / "results" / "inputs" / "suite.json").is_file()
    assert "mine" in run("bench", "report", "--markdown")
    assert "everything agrees" in run("bench", "verify")
    run("bench", "export", "run.zip")
    shown = run(*dvc, "metrics", "show").splitlines()
    assert len(shown) == 1 + 3
    assert all(line.startswith("reports/metrics/chest/") for line in shown[1:])
    page = Path(run(*dvc, "plots", "show").strip().splitlines()[-1].removeprefix("file://"))
    plots = page.read_text(encoding="utf-8")
    assert "cdn.jsdelivr" not in plots
    titles = ("Fine-tuning of all weights", "Linear classifier", "Linear probes", '"Pretraining"')
    places = [plots.index(title, plots.rindex("<body")) for title in titles]
    assert places == sorted(places)
