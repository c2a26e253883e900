"""docs/sharing.md, command by command: two people, a shared folder, git and DVC by themselves."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.cells.files import CELL_FILE
from tests.code_blocks import ROOT, Block, blocks
from tests.project_copy import copy_packages, copy_pipeline, tiny_without

pytestmark = [
    pytest.mark.walk,
    pytest.mark.skipif(shutil.which("git") is None, reason="needs git"),
    pytest.mark.skipif(not (ROOT / "dvc.yaml").exists(), reason="needs the project's folder"),
]

CELLS = 10  # of a method on one data set with one seed


@dataclass
class Person:
    """Somebody at work in a checkout, whose shell finds that checkout's own modules."""

    folder: Path
    team: Path

    def shell(self, code: str, may_end_with: int = 0) -> str:
        """Run lines as they stand in the documentation; what they print."""
        name = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@localhost"}
        environment = os.environ | name | {key.replace("AUTHOR", "COMMITTER"): v for key, v in name.items()}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{self.folder}{os.pathsep}{self.team.parent / 'ben' / 'project'}",
            "IMSSL_BENCH_WARM_START": "0",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "commit.gpgsign", "GIT_CONFIG_VALUE_0": "false",
        }  # fmt: skip
        said = ""
        exports = ""
        for line in code.replace("/srv/team", str(self.team)).replace("\\\n", " ").splitlines():
            if line.startswith(("export ", "cd ")):
                exports += line + "\n"
                continue
            ended = subprocess.run(
                ["bash", "-c", exports + line], cwd=self.folder, env=environment,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            )  # fmt: skip
            said += ended.stdout
            assert ended.returncode in (0, may_end_with), f"{line}\n{ended.stdout[-4000:]}"
        return said

    def computed(self, said: str) -> set[str]:
        """Stages that DVC ran, `inputs` and `report` aside."""
        return set(re.findall(r"^Running stage '(.+)':", said, re.MULTILINE)) - {"inputs", "report"}


def recipe() -> list[Block]:
    return [block for block in blocks(ROOT / "docs" / "sharing.md") if "test_sharing.py" in block.what]


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Anna's project with results; the tests run in order, each on what the one before left."""
    base = tmp_path_factory.mktemp("sharing")
    folder, team = base / "anna", base / "team"
    folder.mkdir()
    team.mkdir()
    (base / "ben").mkdir()
    copy_packages(folder)
    copy_pipeline(folder)
    (folder / "params.yaml").write_text(tiny_without("fundus", "moco-barlow"))
    anna = Person(folder, team)
    anna.shell(
        f"git init --quiet --initial-branch main\ngit add --all\ngit commit --quiet --message first\n"
        f"git init --quiet --bare --initial-branch main {shlex.quote(str(team / 'project.git'))}\n"
        f"git remote add origin {shlex.quote(str(team / 'project.git'))}\nbench repro"
    )
    return anna


@pytest.fixture(scope="module")
def ben(anna: Person) -> Person:
    return Person(anna.team.parent / "ben" / "project", anna.team)


def test_pull_never_retrains(anna, ben):
    share, fetch, *_ = recipe()
    anna.shell(share.code)
    outside = Person(ben.folder.parent, ben.team)
    said = outside.shell(fetch.code)
    assert ben.computed(said) == set()
    assert f"{2 * CELLS} of the finished cells lie in results/ only" in said
    assert len(list(ben.folder.glob(f".bench/cells/*/*/{CELL_FILE}"))) == 2 * CELLS
    for name in ("leaderboard.html", "results.csv"):
        assert (ben.folder / "reports" / name).read_bytes() == (anna.folder / "reports" / name).read_bytes()
    assert ben.shell("git status --porcelain") == ""


def test_a_clone_pulls_from_s3(anna, tmp_path, monkeypatch):
    pytest.importorskip("dvc_s3")
    moto = pytest.importorskip("moto.server")
    boto = pytest.importorskip("botocore.session")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        boto.get_session().create_client("s3", endpoint_url=address).create_bucket(Bucket="team")
        remote = "dvc remote add --local s3 s3://team/results\n"
        remote += f"dvc remote modify --local s3 endpointurl {address}\n"
        anna.shell(remote + "dvc push --remote s3")
        clone = Person(tmp_path / "clone", anna.team)
        Person(tmp_path, anna.team).shell(f"git clone --quiet {anna.folder} clone")
        said = clone.shell(remote + "dvc pull --quiet --remote s3\ndvc repro")
    finally:
        server.stop()
    assert clone.computed(said) == set()
    assert len(list(clone.folder.glob(f".bench/cells/*/*/{CELL_FILE}"))) == 2 * CELLS


def test_a_second_person_computes_their_method_only(ben):
    said = ben.shell(recipe()[2].code)
    assert {stage for stage in ben.computed(said) if "moco" in stage or "random" in stage} == set()
    assert len(list(ben.folder.glob(f".bench/cells/*/*/{CELL_FILE}"))) == 3 * CELLS


def test_two_peoples_results_become_one_table(anna):
    _, _, _, add, merge, *_ = recipe()
    anna.shell(add.code)
    said = anna.shell(merge.code, may_end_with=1)
    assert f"brought in {CELLS} finished cells; {2 * CELLS} were here before" in said
    assert "all 40 cells are in the store" in said
    table = (anna.folder / "reports" / "results.csv").read_text()
    assert {"random-init", "moco", "simclr", "simsiam"} <= {line.split(",")[1] for line in table.splitlines()}


def test_revisions_are_compared_and_an_experiment_is_applied(anna):
    said = anna.shell(recipe()[5].code)
    assert "simsiam" in said
    parameters = (anna.folder / "params.yaml").read_text()
    assert re.search(r"epochs: 3$", parameters, re.MULTILINE)
    leaderboard = (anna.folder / "reports" / "results.json").read_text()
    assert json.loads(leaderboard)
    assert anna.computed(anna.shell("dvc repro")) == set()


def test_a_shared_store_serves_temporary_checkouts(anna):
    said = anna.shell(recipe()[6].code)
    assert "Experiment results have been applied" in said or "shorter" in said
    store = anna.team / "store" / "cells"
    # Of the pretraining of four methods nothing was computed again for the experiment.
    assert len(list((store / "pretrain").iterdir())) == 4
    assert len(list((store / "finetune").iterdir())) == 2 * 4 * 2


def test_bench_repro_sees_an_edit_that_dvc_repro_of_a_stage_does_not(anna):
    file = anna.folder / "params.yaml"
    file.write_text(file.read_text().replace("learning_rate: 0.001", "learning_rate: 0.002"))
    assert "finetune@chest-moco" not in anna.computed(
        anna.shell("dvc repro --single-item finetune@chest-moco")
    )
    forecast = anna.shell("bench repro --dry")
    assert "finetune@chest-moco" in anna.computed(forecast)
    assert "finetune@chest-moco" in anna.computed(anna.shell("bench repro --single-item finetune@chest-moco"))
