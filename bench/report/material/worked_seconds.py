"""What cells have cost: seconds that processors worked, or that a GPU was held, and never those of the clock.

The clock measures the neighbours too: what ran beside a cell makes it slower and does not make it dearer.
"""

from dataclasses import dataclass
from typing import Literal

from bench.cells.records import Provenance
from bench.summary.summary import Summary


@dataclass(frozen=True)
class Worked:
    """What a cell, or one seed in the mean over them, has cost.

    Attributes:
        by: what worked.
        seconds: None where the record does not say, as those of earlier versions do not.
    """

    by: Literal["CPU", "GPU"]
    seconds: float | None


def worked(origin: Provenance) -> Worked:
    """What a cell has cost."""
    # A processor is named with its threads; stages without torch say no more than CPU.
    if origin.device != "CPU" and origin.hardware == origin.device:
        return Worked("GPU", origin.seconds)
    return Worked("CPU", origin.cpu_seconds)


def pretraining_cost(summary: Summary, dataset: str, method: str) -> Worked | None:
    """Mean over the seeds of what pretraining has cost; None unless every seed says it, of one kind."""
    states = summary.results.states_of(dataset, method)
    each = [
        worked(state.record.provenance) if state.status == "done" and state.record else None
        for cell, state in states
        if cell.stage == "pretrain"
    ]
    known = [(one.by, one.seconds) for one in each if one is not None and one.seconds is not None]
    if not known or len(known) < len(each) or len({by for by, _ in known}) > 1:
        return None
    return Worked(known[0][0], sum(seconds for _, seconds in known) / len(known))
