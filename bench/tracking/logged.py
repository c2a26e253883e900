"""Which points of which cells a tracker has already, so that each is logged once, over all runs."""

from pathlib import Path

from bench.cells.files import STORE, read_json, write_json
from imssl.errors import UserError

FOLDER = STORE / "tracking"
# Epochs that are logged, by quantity.
Logged = dict[str, list[int]]


def folder_of(tracker: str) -> Path:
    """Where a tracker may keep files, and what it has is noted."""
    return FOLDER / tracker


class LoggedPoints:
    """The points that a tracker has of each cell.

    Args:
        tracker: its name.
    """

    def __init__(self, tracker: str) -> None:
        self._folder = folder_of(tracker) / "logged"
        self._known: dict[str, Logged] = {}

    def of(self, key: str) -> Logged:
        """Those of a cell; a note that cannot be read counts as none."""
        if key not in self._known:
            try:
                content = read_json(self._file(key))
                self._known[key] = {str(name): list(epochs) for name, epochs in content.items()}
            except (UserError, AttributeError, TypeError):
                self._known[key] = {}
        return self._known[key]

    def add(self, key: str, points: Logged) -> None:
        """Note further points of a cell."""
        known = self.of(key)
        for quantity, epochs in points.items():
            known[quantity] = [*known.get(quantity, []), *epochs]
        write_json(self._file(key), known)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"
