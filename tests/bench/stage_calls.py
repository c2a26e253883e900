"""What DVC runs for a data set once it is prepared, for tests that go without DVC."""

from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import CELL_STAGES, STAGES


def stage_calls(dataset: str, protocol: Protocol) -> list[list[str]]:
    """Arguments of `python -m bench.stage`, in the order of the pipeline."""
    return [
        [stage, dataset, *method]
        for stage in CELL_STAGES
        for method in ([[name] for name in protocol.methods] if STAGES[stage].runs == "method" else [[]])
    ]
