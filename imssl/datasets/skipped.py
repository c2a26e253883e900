"""What a data set does not hold of its source: counted by reason in the card, in full in ``skipped.csv``."""

from collections.abc import Sequence

import pandas as pd
from pydantic import BaseModel, ConfigDict

SKIPPED_FILE = "skipped.csv"
# How many names of each reason the card holds.
FIRST = 5


class Skipped(BaseModel):
    """Images, rows or files of the source that were left out for the same reason.

    Attributes:
        reason: why.
        count: how many there are.
        first: names of the first of them.
    """

    model_config = ConfigDict(extra="forbid")

    reason: str
    count: int
    first: list[str]


def by_reason(left_out: Sequence[tuple[str, str]]) -> list[Skipped]:
    """What was left out, the most frequent reason first.

    Args:
        left_out: (name, reason) of each. Reasons that differ only after a colon, as in ``duplicate id:
            a.png has the same name``, are the same.
    """
    names: dict[str, list[str]] = {}
    for name, reason in left_out:
        names.setdefault(general_reason(reason), []).append(name)
    grouped = [Skipped(reason=reason, count=len(all_), first=all_[:FIRST]) for reason, all_ in names.items()]
    return sorted(grouped, key=lambda skipped: -skipped.count)


def general_reason(reason: str) -> str:
    """The part of a reason that it shares with other files: all before the colon."""
    return reason.partition(": ")[0]


def total(skipped: Sequence[Skipped]) -> int:
    """How many files or rows were left out, for whatever reason."""
    return sum(entry.count for entry in skipped)


def skipped_table(bad: Sequence[tuple[str, str]], unused: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Rows of ``skipped.csv``: file, reason, and status.

    Args:
        bad: (name, reason) of what belongs to the data set and cannot be used; its status is ``skipped``.
        unused: (name, reason) of what is no part of the data set; its status is ``unused``.
    """
    rows = [(*entry, "skipped") for entry in bad] + [(*entry, "unused") for entry in unused]
    return pd.DataFrame(rows, columns=["file", "reason", "status"], dtype=str)
