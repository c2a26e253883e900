"""How much of the whole run lies ahead: noted once at its beginning, brought up to date by every stage.

A stage looks at its own cells only. What the other stages take it reads here, so that the work of a progress
bar grows with the run and not with its square.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from bench.cells.files import STORE, write_json
from bench.cells.keys import Keys
from bench.forecast.estimate import RunEstimate
from bench.protocol.cell import Cell, all_cells

OUTLOOK_FILE = STORE / "outlook.json"


@dataclass
class Outlook:
    """Seconds of every stage of a run, by the name that DVC gives the stage.

    Attributes:
        expected: by what its cells are made of.
        took: of the stages whose cells are all finished.
    """

    expected: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def rate(self, kind: str) -> float:
        """How much longer than expected the finished stages of a kind took; of any kind if there are none."""
        for names in ([name for name in self.took if _kind(name) == kind], list(self.took)):
            expected = sum(self.expected.get(name, 0.0) for name in names)
            if expected > 0:
                return sum(self.took[name] for name in names) / expected
        return 1.0

    def seconds_left(self, besides: str) -> float:
        """Seconds of the stages that are not finished, without one of them."""
        rates = {kind: self.rate(kind) for kind in {_kind(name) for name in self.expected}}
        return sum(
            seconds * rates[_kind(name)]
            for name, seconds in self.expected.items()
            if name not in self.took and name != besides
        )

    def seconds_done(self, besides: str) -> float:
        """Seconds of the stages that are finished, without one of them."""
        return sum(seconds for name, seconds in self.took.items() if name != besides)

    def write(self) -> None:
        """Keep it for the stages that follow."""
        write_json(OUTLOOK_FILE, asdict(self))


def read_outlook() -> Outlook:
    """What the stage before has left; nothing where there is none, as only a progress bar is made of it."""
    try:
        return Outlook(**json.loads(OUTLOOK_FILE.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Outlook()


def note_run(keys: Keys) -> None:
    """Look at every cell of the protocol once, and note what lies ahead."""
    outlook = Outlook()
    _note(outlook, keys, all_cells(keys.protocol))
    outlook.write()


def note_dataset(keys: Keys, dataset: str) -> None:
    """Note what lies ahead on a data set that has just been prepared, and whose size was a guess before."""
    outlook = read_outlook()
    _note(outlook, keys, (cell for cell in all_cells(keys.protocol) if cell.dataset == dataset))
    outlook.write()


def _note(outlook: Outlook, keys: Keys, cells: Iterable[Cell]) -> None:
    by_stage: dict[str, list[Cell]] = {}
    for cell in cells:
        by_stage.setdefault(cell.dvc_stage, []).append(cell)
    estimate = RunEstimate(keys, [cell for of_stage in by_stage.values() for cell in of_stage])
    for name, of_stage in by_stage.items():
        outlook.took.pop(name, None)
        outlook.expected[name] = sum(map(estimate.expected_seconds, of_stage))
        if all(map(estimate.is_done, of_stage)):
            outlook.took[name] = sum(map(estimate.seconds, of_stage))


def _kind(name: str) -> str:
    return name.partition("@")[0]
