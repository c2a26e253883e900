"""Curves as event files of TensorBoard: ``tensorboard --logdir .bench/tracking/tensorboard/runs``."""

from torch.utils.tensorboard import SummaryWriter

from bench.tracking.logged import folder_of


class TensorBoardRuns:
    """A folder of event files for each cell."""

    def __init__(self) -> None:
        self._writers: dict[str, SummaryWriter] = {}

    def log(self, run: str, key: str, quantity: str, epoch: int, value: float) -> None:
        """A point; see `bench.tracking.tracker.Tracker`."""
        if key not in self._writers:
            # A cell that is computed anew, under other settings or code, is another run.
            place = run.replace("seed ", "seed-").replace(" ", "/")
            folder = folder_of("tensorboard") / "runs" / f"{place}-{key[:8]}"
            self._writers[key] = SummaryWriter(str(folder))
        self._writers[key].add_scalar(quantity, value, epoch)

    def end(self, key: str) -> None:
        """Close the event file of a cell."""
        if key in self._writers:
            self._writers.pop(key).close()

    def close(self) -> None:
        """Close all event files."""
        for key in list(self._writers):
            self.end(key)


def tracker(project: str) -> TensorBoardRuns:
    """The tracker; event files lie in the project, whose name they do not need."""
    return TensorBoardRuns()
