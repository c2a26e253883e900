"""The whole pipeline by DVC itself, in a copy of the project with a protocol that runs in seconds."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from bench.cells.files import CELL_FILE
from bench.cells.records import read_record
from bench.cells.store import file_checksums
from bench.protocol.stage_specs import CELL_STAGES, STAGES
from tests.project_copy import ROOT, copy_packages, copy_pipeline

METHODS = ("random-init", "moco", "moco-barlow")
# Cells of a method on the two data sets with one seed: one or two of each stage.
CELLS = 2 * (4 + 3 * 2)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="needs git"),
    pytest.mark.skipif(
        not (ROOT / "dvc.yaml").exists(), reason="needs the project's folder, not only the package"
    ),
]


@dataclass
class Project:
    """A copy of the project in which Python finds the copy's own modules."""

    folder: Path
    temporary: Path

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path, "PYTHONPATH": str(self.folder), "TMPDIR": str(self.temporary)}

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def repro(self) -> tuple[set[str], str]:
        """The stages that ran, and what was printed."""
        ended = self.run(sys.executable, "-m", "dvc", "repro")
        assert ended.returncode == 0, ended.stdout[-5000:]
        return set(re.findall(r"^Running stage '(.+)':", ended.stdout, re.MULTILINE)), ended.stdout

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {name}"
        (self.folder / name).write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """One data set and method of everything; the tests run in order, each on what the one before left."""
    tiny = (Path(__file__).parent / "tiny.yaml").read_text()
    with project_in(tmp_path_factory.mktemp("pipeline") / "project", tiny) as project:
        yield project


@contextlib.contextmanager
def project_in(folder: Path, params: str) -> Iterator[Project]:
    """A copy of the project under Git, with some params.yaml; its warm servers end with it."""
    folder.mkdir()
    copy_packages(folder)
    copy_pipeline(folder)
    (folder / "params.yaml").write_text(params)
    project = Project(folder, Path(tempfile.mkdtemp(prefix="ib", dir="/tmp")))
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    assert project.run("git", "init", "--quiet").returncode == 0
    assert project.run("git", "add", "--all").returncode == 0
    assert project.run(*git, "commit", "--quiet", "--message", "first").returncode == 0
    yield project
    for server in warm_servers(project):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)
    shutil.rmtree(project.temporary)


def warm_servers(project: Project) -> list[int]:
    """Processes whose command line names this project's temporary folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(project.temporary).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def stages(methods: tuple[str, ...], names: tuple[str, ...] = CELL_STAGES) -> set[str]:
    """What DVC runs for some methods: the evaluations of frozen encoders and outputs run for all at once."""
    return {
        f"{stage}@{dataset}" + (f"-{method}" if STAGES[stage].runs == "method" else "")
        for stage in names
        for dataset in ("chest", "fundus")
        for method in methods
    }


def noted(project: Project) -> dict[str, Any]:
    """What dvc.lock says of each stage."""
    return YAML(typ="safe").load((project.folder / "dvc.lock").read_text())["stages"]


def whole(folder: Path) -> int:
    """Number of cells below a folder, each of which must be as it was finished."""
    records = list(folder.rglob(CELL_FILE))
    for file in records:
        record = read_record(file.parent)
        assert record is not None
        assert file_checksums(file.parent) == record.files, file
    return len(records)


def test_the_first_run_makes_everything_also_after_a_kill_in_its_middle(project):
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 600
    while not list((project.folder / ".bench" / "cells").glob("finetune/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.name for path in (project.folder / ".bench" / "cells").glob("*/*")}
    ran, output = project.repro()
    assert output.count(": reused") > 0
    # DVC notes a stage when it is done, so those that ended before the kill need not run again.
    everything = stages(METHODS) | {
        "inputs",
        "data@chest",
        "data@fundus",
        "report",
    }
    assert ran <= everything
    assert stages(METHODS, ("reuse", "ks")) | {"report"} <= ran
    assert whole(project.folder / "results") == whole(project.folder / ".bench" / "cells") == 3 * CELLS
    assert kept <= {path.name for path in (project.folder / ".bench" / "cells").glob("*/*")}
    assert not list(project.folder.rglob("*.partial"))
    for name in ("leaderboard.html", "results.csv", "metrics.json"):
        assert (project.folder / "reports" / name).stat().st_size > 0


def test_the_second_run_runs_nothing(project):
    """But `inputs`, which alone sees raw files and weights: DVC does not watch them."""
    ran, _ = project.repro()
    assert ran == {"inputs"}


def test_a_first_bench_repro_lays_out_all_stages_and_dvc_notes_the_same(project):
    """Here with cells that are in the store already, as `bench run` leaves them."""
    by_dvc = noted(project)
    (project.folder / "dvc.lock").unlink()
    shutil.rmtree(project.folder / "results")
    ended = project.run(sys.executable, "-m", "bench", "repro")
    assert ended.returncode == 0, ended.stdout
    assert not re.findall(rf"^Running stage '({'|'.join(CELL_STAGES)})@", ended.stdout, re.MULTILINE)
    assert {name: noted(project)[name] for name in stages(METHODS)} == {
        name: by_dvc[name] for name in stages(METHODS)
    }
    assert whole(project.folder / "results") == 3 * CELLS
    assert project.repro()[0] == {"inputs"}


def test_the_table_tells_what_pretraining_saw_and_trained(project):
    table = pd.read_csv(project.folder / "reports" / "results.csv")
    costs = table[table["evaluation"] == "pretrain"].pivot(
        index=["dataset", "method"], columns="metric", values="value"
    )
    heads = {"moco": 64 * 16 + 16 + 16 * 8 + 8}
    heads["moco-barlow"] = heads["moco"] + sum(w * 16 + 4 * 16 + 2 * 16 * 16 for w in (8, 16, 32, 64))
    for (dataset, method), cost in costs.iterrows():
        if method == "random-init":
            assert cost["images_seen"] == cost["trained_parameters"] == 0
            continue
        samples = pd.read_csv(project.folder / "data" / dataset / "samples.csv")
        steps = 2 * ((samples["split"] == "train").sum() // 16)
        assert cost["images_seen"] == 16 * steps
        file = project.folder / "results" / dataset / "pretrain" / method / "seed-0" / "encoder.safetensors"
        weights = {name: w for name, w in load_file(file).items() if not re.search("running|tracked", name)}
        assert cost["trained_parameters"] == sum(w.size for w in weights.values()) + heads[method]
    assert len(costs) == 2 * 3


def test_dvc_shows_metrics_plots_and_what_changed(project):
    dvc = (sys.executable, "-m", "dvc")
    for command in (("metrics", "show"), ("plots", "show"), ("params", "diff")):
        ended = project.run(*dvc, *command)
        assert ended.returncode == 0, ended.stdout
    project.edit("params.yaml", "finetune:\n  epochs: 1", "finetune:\n  epochs: 2")
    assert "finetune.epochs" in project.run(*dvc, "params", "diff").stdout


def test_a_parameter_of_fine_tuning_reruns_no_pretraining(project):
    ran, output = project.repro()
    assert {name.partition("@")[0] for name in ran} == {"inputs", "finetune", "reuse", "ks", "report"}
    rerun = stages(METHODS, ("finetune", "reuse", "ks"))
    assert ran - {"inputs", "report"} == rerun
    assert not [line for line in output.splitlines() if line.startswith(("frozen ", "knn ", "probe "))]


def test_a_value_that_is_put_back_finds_its_results_again(project):
    project.edit("params.yaml", "finetune:\n  epochs: 2", "finetune:\n  epochs: 1")
    _, output = project.repro()
    computed = [line for line in output.splitlines() if re.search(r" seed \d.*: \d+\.\d s ", line)]
    assert computed == []


def test_a_hyperparameter_reruns_its_method_only(project):
    project.edit(
        "params.yaml",
        "  moco:\n    hidden: 16\n    dimension: 8",
        "  moco:\n    hidden: 16\n    dimension: 4",
    )
    ran, _ = project.repro()
    assert ran - {"inputs"} == stages(("moco",)) | {"report"}


def test_an_edit_of_a_method_reruns_that_method_only(project):
    with (project.folder / "imssl" / "methods" / "moco_barlow.py").open("a") as file:
        file.write("EDITED = True\n")
    ran, output = project.repro()
    assert ran == stages(("moco-barlow",)) | {"inputs", "report"}
    lines = [line for line in output.splitlines() if re.search(r" seed \d", line)]
    assert all((line.split()[2] == "moco-barlow") == (": reused" not in line) for line in lines)


def test_an_edit_of_the_report_reruns_the_report_only(project):
    with (project.folder / "bench" / "summary" / "over_seeds.py").open("a") as file:
        file.write("# edited\n")
    assert project.repro()[0] == {"inputs", "report"}


def test_an_added_method_runs_its_own_stages_only(project):
    """The example of docs/methods.md, as a user would add it; no cell of another method is computed."""
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "methods.md").read_text(), re.DOTALL)
    (project.temporary / "rotation.py").write_text(example.group(1))
    cells = {path.name for path in (project.folder / ".bench" / "cells").glob("*/*")}
    added = project.run(sys.executable, "-m", "bench", "add-method", str(project.temporary / "rotation.py"))
    assert added.returncode == 0, added.stdout
    assert f"compute {CELLS} of its cells" in added.stdout
    ran, output = project.repro()
    assert ran == stages(("rotation",)) | {"inputs", "report"}
    lines = [line for line in output.splitlines() if re.search(r" seed \d", line)]
    assert all((line.split()[2] == "rotation") == (": reused" not in line) for line in lines)
    new = {path.name for path in (project.folder / ".bench" / "cells").glob("*/*")} - cells
    assert len(new) == CELLS
    status = project.run(sys.executable, "-m", "dvc", "status", "--json")
    assert json.loads(status.stdout) == {"inputs": ["always changed"]}
    page = (project.folder / "reports" / "leaderboard.html").read_text()
    assert "rotation" in page
    assert "rotation: the checks of its file were skipped" not in page
    removed = project.run(sys.executable, "-m", "bench", "remove-method", "rotation", "--delete-file")
    assert removed.returncode == 0, removed.stdout
    status = json.loads(project.run(sys.executable, "-m", "dvc", "status", "--json").stdout)
    assert set(status) == {"inputs", "report"}


def test_another_seed_computes_its_own_cells_only(project):
    project.edit("params.yaml", "seeds: [0]", "seeds: [0, 1]")
    ran, output = project.repro()
    assert ran == stages(METHODS) | {"inputs", "report"}
    lines = [line for line in output.splitlines() if re.search(r" seed \d", line)]
    assert len(lines) == 2 * 3 * CELLS
    assert all((" seed 0" in line) == (": reused" in line) for line in lines)
    # Of the removed method, what DVC ran for it alone is left: pretraining, and fine-tuning on two shares.
    assert whole(project.folder / "results") == 2 * 3 * CELLS + 2 * 3


def test_a_stage_gives_the_same_bytes_without_the_warm_start(project):
    name = "results/chest/pretrain/moco/seed-1/encoder.safetensors"
    warm = (project.folder / name).read_bytes()
    store = project.folder / ".bench"
    store.rename(project.folder / ".bench-aside")
    ended = project.run(
        sys.executable, "-m", "bench.stage", "pretrain", "chest", "moco", IMSSL_BENCH_WARM_START="0"
    )
    assert ended.returncode == 0, ended.stdout
    assert "reused" not in ended.stdout
    assert (project.folder / name).read_bytes() == warm


def test_a_mistake_in_a_stage_stops_dvc_with_the_message(project):
    project.edit("params.yaml", "projection: 16", "projection: -16")
    ended = project.run(sys.executable, "-m", "dvc", "repro")
    assert ended.returncode != 0
    assert "methods.moco-barlow.projection is -16" in ended.stdout
    assert "Traceback" not in ended.stdout
