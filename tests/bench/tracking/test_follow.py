"""Curves go to a tracker once, from histories of finished cells and notes on running ones."""

import importlib
import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.cells.store import running
from bench.cells.store.running import RunningCell, RunningNote
from bench.cli import app
from bench.protocol.cell import Cell
from bench.tracking import follow
from bench.tracking.follow import Exporter, points_of
from bench.tracking.logged import LoggedPoints
from bench.tracking.tracker import PACKAGES, tracker_of
from imssl.errors import UserError

CELL, KEY = Cell("pretrain", "chest", "moco", 0), "ab" * 32
HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "knn": [None, 0.5, None]})


class Recorder:
    """A tracker that keeps what it is told."""

    def __init__(self):
        self.points, self.ended = [], []

    def log(self, run, key, quantity, epoch, value):
        self.points.append((run, key, quantity, epoch, value))

    def end(self, key):
        self.ended.append(key)

    def close(self):
        pass


@pytest.fixture
def finish(tmp_path, monkeypatch):
    """A folder in the place of the store's cell; call it to finish the cell."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cell"
    folder.mkdir()
    monkeypatch.setattr(follow, "cell_folder", lambda cell, key: folder)

    def finish():
        HISTORY.to_csv(folder / "history.csv", index=False)
        (folder / "cell.json").write_text("{}")

    return finish


def test_points_are_what_was_measured():
    assert points_of(HISTORY) == {("loss", 1): 3.0, ("loss", 2): 2.0, ("loss", 3): 1.0, ("knn", 2): 0.5}


def test_a_growing_curve_is_logged_as_it_grows_and_then_its_rest(finish, monkeypatch):
    cell = RunningCell("pretrain chest moco seed 0", "here", 0.0)
    monkeypatch.setattr(follow, "running_cells", lambda: {KEY: cell})
    recorder = Recorder()
    exporter = Exporter(recorder, LoggedPoints("recorder"))
    for epoch, loss in ((1, 3.0), (2, 2.0)):
        cell.curves.setdefault("loss", []).append(loss)
        cell.epochs.setdefault("loss", []).append(epoch)
        exporter.export({KEY: CELL})
    assert [point[2:] for point in recorder.points] == [("loss", 1, 3.0), ("loss", 2, 2.0)]
    assert recorder.ended == []
    finish()
    exporter.export({KEY: CELL})
    exporter.export({KEY: CELL})
    assert recorder.points[0][:2] == (CELL.title, KEY)
    assert [point[2:] for point in recorder.points[2:]] == [("loss", 3, 1.0), ("knn", 2, 0.5)]
    assert recorder.ended == [KEY]
    # Another run of the project logs nothing twice.
    later = Recorder()
    Exporter(later, LoggedPoints("recorder")).export({KEY: CELL})
    assert later.points == []


def test_a_note_says_which_epochs_its_curves_are_of(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "RUNNING", tmp_path)
    monkeypatch.setattr(running, "WRITE_SECONDS", 0.0)
    note = RunningNote("a cell", KEY)
    note.epoch({"epoch": 1, "loss": 3.0, "knn": None})
    note.epoch({"epoch": 2, "loss": 2.0, "knn": 0.5})
    content = json.loads((tmp_path / f"{KEY}.json").read_text())
    assert content["epochs"] == {"loss": [1, 2], "knn": [2]}
    assert content["curves"] == {"loss": [3.0, 2.0], "knn": [0.5]}


def test_tensorboard_reads_what_was_logged(finish, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    finish()
    tracker = tracker_of("tensorboard", "a project")
    Exporter(tracker, LoggedPoints("tensorboard")).export({KEY: CELL})
    tracker.close()
    (file,) = (tmp_path / ".bench" / "tracking" / "tensorboard" / "runs").rglob("events*")
    assert file.parent.relative_to(tmp_path).as_posix().endswith("runs/pretrain/chest/moco/seed-0-abababab")
    events = accumulator.EventAccumulator(str(file.parent))
    events.Reload()
    scalars = {name: [(s.step, s.value) for s in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert scalars == {"loss": [(1, 3.0), (2, 2.0), (3, 1.0)], "knn": [(2, 0.5)]}


def test_mlflow_reads_what_was_logged(finish, tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    finish()
    Exporter(tracker_of("mlflow", "a project"), LoggedPoints("mlflow")).export({KEY: CELL})
    client = tracking.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("a project").experiment_id])
    assert run.info.run_name == CELL.title
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in losses] == [(1, 3.0), (2, 2.0), (3, 1.0)]


@pytest.mark.parametrize("tracker", PACKAGES)
def test_a_missing_package_is_one_message(project, monkeypatch, tracker):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "bench.tracking.tracker.find_spec", lambda n: None if n == PACKAGES[tracker] else find(n)
    )
    result = CliRunner().invoke(app, ["run", "--log", tracker])
    assert isinstance(result.exception, UserError)
    assert f"pip install 'imssl-bench[{tracker}]'" in str(result.exception)


def test_a_tracker_that_there_is_not_is_refused(project):
    result = CliRunner().invoke(app, ["run", "--log", "notebook"])
    assert "There are: tensorboard, wandb, mlflow" in str(result.exception)


def test_a_tracker_that_fails_is_one_line_and_the_end_of_the_logging(project, tmp_path):
    (tmp_path / "mlflow.py").write_text("raise RuntimeError('no server')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-m", "bench.tracking.follow", "mlflow"],
        input="", env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1] == "--log mlflow: no server. The run goes on without."
