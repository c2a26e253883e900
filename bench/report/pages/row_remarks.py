"""What must be known of a row beside its numbers: what it alone uses, and where its weights come from."""

from bench.analysis.reproduction.initial_weights import row_start
from bench.cells.method_facts import facts_of
from bench.protocol.protocol import INITIALISATION_KEY, OPTIMISATION_KEY, Protocol
from bench.report.layout import listed
from imssl.errors import UserError

ELSEWHERE = "pretrained elsewhere: data, length and augmentation unknown"


def departure_words(protocol: Protocol) -> dict[str, str]:
    """What each method uses that not every method does, such as “patient ids”; empty for nothing."""
    return {method: departures_of(method, protocol) for method in protocol.methods}


def departures_of(method: str, protocol: Protocol) -> str:
    """What one method uses that not every method does."""
    written = protocol.methods[method]
    try:
        used = list(facts_of(method, protocol).departures)
    except UserError:  # its checks say what is wrong
        used = []
    if written.get(OPTIMISATION_KEY):
        used.append(f"its own {listed(list(written[OPTIMISATION_KEY]))}")
    return listed(used)


def origin_sentence(method: str, protocol: Protocol) -> str:
    """What a reader must know of the weights that a row starts from; empty where they are random."""
    start = f"It starts from {row_start(method, protocol)}."
    try:
        facts = facts_of(method, protocol)
    except UserError:
        return ""
    if facts.pretrained_elsewhere:
        return f"{method} was {ELSEWHERE}. {start}"
    uses_file = protocol.encoder.weights is not None and not facts.from_scratch
    return f"{method}: {start}" if uses_file or INITIALISATION_KEY in protocol.methods[method] else ""


def origins_that_differ(protocol: Protocol) -> list[str]:
    """Of the rows that start from a file, what a reader must know; none where all rows start alike."""
    sentences = [origin_sentence(method, protocol) for method in protocol.methods]
    return [sentence for sentence in sentences if sentence]
