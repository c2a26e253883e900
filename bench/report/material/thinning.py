"""Few of many epochs, for a table or a chart that has no room for all."""

from collections.abc import Sequence


def thinned(epochs: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the epochs, evenly spread, with the first and the last."""
    if len(epochs) <= count:
        return list(epochs)
    return [epochs[round(i * (len(epochs) - 1) / (count - 1))] for i in range(count)]
