"""Curves as runs of MLflow; where they go is said by its own variable MLFLOW_TRACKING_URI."""

import os

import mlflow
from mlflow.tracking import MlflowClient

from bench.tracking.logged import folder_of

KEY_TAG = "imssl_bench.key"


class MlflowRuns:
    """A run for each cell, which is found again by a tag with the cell's key."""

    def __init__(self, project: str) -> None:
        if "MLFLOW_TRACKING_URI" not in os.environ:
            folder = folder_of("mlflow").absolute()
            folder.mkdir(parents=True, exist_ok=True)
            mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        self._client = MlflowClient()
        experiment = self._client.get_experiment_by_name(project)
        self._experiment = experiment.experiment_id if experiment else self._client.create_experiment(project)
        self._runs: dict[str, str] = {}

    def log(self, run: str, key: str, quantity: str, epoch: int, value: float) -> None:
        """A point; see `bench.tracking.tracker.Tracker`."""
        if key not in self._runs:
            earlier = self._client.search_runs([self._experiment], f"tags.`{KEY_TAG}` = '{key}'")
            made = earlier or [self._client.create_run(self._experiment, run_name=run, tags={KEY_TAG: key})]
            self._runs[key] = made[0].info.run_id
        self._client.log_metric(self._runs[key], quantity, value, step=epoch)

    def end(self, key: str) -> None:
        """Say that the run of a cell is finished."""
        if key in self._runs:
            self._client.set_terminated(self._runs.pop(key))

    def close(self) -> None:
        """Nothing is open."""


def tracker(project: str) -> MlflowRuns:
    """The tracker for an experiment of this name."""
    return MlflowRuns(project)
