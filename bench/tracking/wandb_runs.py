"""Curves as runs of Weights & Biases; its own variables, such as WANDB_MODE=offline, say where they go."""

from typing import Any

import wandb

from bench.tracking.logged import folder_of


class WandbRuns:
    """A run of the service for each cell, which goes on where an earlier process left it."""

    def __init__(self, project: str) -> None:
        self.project = project
        self._runs: dict[str, Any] = {}

    def log(self, run: str, key: str, quantity: str, epoch: int, value: float) -> None:
        """A point; see `bench.tracking.tracker.Tracker`."""
        if key not in self._runs:
            folder = folder_of("wandb")
            folder.mkdir(parents=True, exist_ok=True)
            self._runs[key] = wandb.init(
                project=self.project,
                name=run,
                id=key[:32],
                dir=str(folder),
                resume="allow",
                reinit="create_new",
                settings=wandb.Settings(console="off", silent=True, disable_git=True),
            )
            self._runs[key].define_metric("*", step_metric="epoch")
        self._runs[key].log({"epoch": epoch, quantity: value})

    def end(self, key: str) -> None:
        """Finish the run of a cell."""
        if key in self._runs:
            self._runs.pop(key).finish()

    def close(self) -> None:
        """Finish all runs; one of a cell that goes on is resumed later."""
        for key in list(self._runs):
            self.end(key)


def tracker(project: str) -> WandbRuns:
    """The tracker for a project of the service."""
    return WandbRuns(project)
