"""What somebody who mistyped a name may have meant."""

import difflib
from collections.abc import Collection, Iterable

from imssl.errors import UserError


def refuse_unknown(kind: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that params.yaml does not have.

    Args:
        kind: what it is the name of, such as ``method``.
        name: as a user wrote it.
        known: those of params.yaml.

    Raises:
        UserError: it is not among them.
    """
    if name not in known:
        raise UserError(
            f"{kind} {name} is not in params.yaml; there are: {', '.join(known)}.{did_you_mean(name, known)}"
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question to put behind a message, with a space before it; empty where no name is alike."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""
