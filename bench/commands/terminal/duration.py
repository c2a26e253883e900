"""Durations in words, rounded as a person would round them."""


def duration(seconds: float) -> str:
    """A duration in seconds as text: ``45 s``, ``3 min`` or ``2.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
