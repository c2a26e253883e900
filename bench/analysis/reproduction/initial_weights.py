"""What the encoders of a run start from, in words: random weights, or a file with its SHA-256."""

from pathlib import Path

from bench.cells.method_facts import facts_of
from bench.protocol.protocol import INITIALISATION_KEY, RANDOM, Protocol
from bench.protocol.starting_points import StartingPoint, starting_point
from imssl.errors import UserError

FROM_SEED = "the same for every method, drawn from the seed"
SCRATCH = "random, drawn from the seed"


def protocol_start(protocol: Protocol) -> str:
    """What every row starts from that says nothing else."""
    weights = protocol.encoder.weights
    if weights is None:
        return FROM_SEED
    for method, row in protocol.methods.items():
        if INITIALISATION_KEY not in row:
            words = _words(method, protocol)
            if words != SCRATCH:
                return words
    return f"encoder.weights: {Path(weights).name}"


def row_start(method: str, protocol: Protocol) -> str:
    """What one row starts from, as `protocol_start` says it where it is the same."""
    words = _words(method, protocol)
    return FROM_SEED if words == SCRATCH and protocol.encoder.weights is None else words


def _words(method: str, protocol: Protocol) -> str:
    if protocol.methods[method].get(INITIALISATION_KEY) == RANDOM:
        return SCRATCH
    try:
        from_scratch = facts_of(method, protocol).from_scratch
        starts = {data: starting_point(method, data, protocol, from_scratch) for data in protocol.datasets}
    except UserError as error:
        return str(error)
    texts = {dataset: SCRATCH if start is None else _file_words(start) for dataset, start in starts.items()}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{dataset}: {text}" for dataset, text in texts.items())


def _file_words(start: StartingPoint) -> str:
    if start.file is None:
        return f"{start.initialisation}: no file"
    return f"{start.initialisation}: {start.file.name} (SHA-256 {start.sha256})"
