"""What a tracker of experiments is to this project, and which there are."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from imssl.errors import UserError

# By name: the package that has to be installed, which is also the name of the extra.
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


class Tracker(Protocol):
    """Takes points of curves; each cell is a run of its own."""

    def log(self, run: str, key: str, quantity: str, epoch: int, value: float) -> None:
        """A point.

        Args:
            run: title of the cell.
            key: of the cell; the same cell has the same key in every run of the project.
            quantity: such as loss.
            epoch: of the training.
            value: of the quantity.
        """
        ...

    def end(self, key: str) -> None:
        """The cell is finished, and all of its points have been logged."""
        ...

    def close(self) -> None:
        """Nothing more is logged by this process."""
        ...


def refuse_missing(tracker: str) -> None:
    """Refuse a tracker that there is not, or whose package is not installed.

    Raises:
        UserError: with what to install.
    """
    if tracker not in PACKAGES:
        raise UserError(f"--log {tracker}: there is no such tracker. There are: {', '.join(PACKAGES)}")
    if find_spec(PACKAGES[tracker]) is None:
        raise UserError(
            f"--log {tracker} needs the package {PACKAGES[tracker]}, which is not installed. Install it "
            f"with: pip install 'imssl-bench[{tracker}]'"
        )


def tracker_of(name: str, project: str) -> Tracker:
    """The tracker of a name in PACKAGES.

    Args:
        name: of the tracker.
        project: under which a service files the runs.
    """
    make: Callable[[str], Any] = import_module(f"bench.tracking.{name}_runs").tracker
    made: Tracker = make(project)
    return made
