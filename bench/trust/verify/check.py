"""What a check looked at and what it found."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Called with what is being done, how many of its parts are done, and of how many.
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Disagreement:
    """Something that is not as it should be.

    Attributes:
        where: a file, a cell or a number.
        expected: what was recorded or recomputed.
        found: what is there.
    """

    where: str
    expected: str
    found: str


@dataclass
class Check:
    """One kind of check over a run.

    Attributes:
        name: what is checked.
        compared: how many things were.
        disagreements: those that are not as they should be.
        notes: what could not be compared, and why.
    """

    name: str
    compared: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: "Check") -> None:
        """Take in the same check of another part of the run."""
        self.compared += other.compared
        self.disagreements += other.disagreements
        self.notes += other.notes

    def compare(self, where: str | Path, expected: object, found: object) -> None:
        """Count a comparison of two values that must be equal."""
        self.compared += 1
        if expected != found:
            self.disagreements.append(Disagreement(str(where), str(expected), str(found)))

    def compare_numbers(self, where: str, expected: float | None, found: float | None) -> None:
        """Count a comparison of two numbers, equal but for rounding on the way; None is undefined."""
        self.compared += 1
        close = expected is found is None or (
            expected is not None
            and found is not None
            and abs(expected - found) <= 1e-9 * max(1.0, abs(expected))
        )
        if not close:
            self.disagreements.append(Disagreement(where, _number(expected), _number(found)))


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    """One check of each name, in the order in which the names come first."""
    merged: dict[str, Check] = {}
    for check in checks:
        merged.setdefault(check.name, Check(check.name)).add(check)
    return merged


def disagreements(checks: list[Check]) -> Iterator[tuple[str, Disagreement]]:
    """Everything that disagrees, with the name of its check."""
    for check in checks:
        for disagreement in check.disagreements:
            yield check.name, disagreement


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.12g}"
