"""What a rule is, and what checking one method file against the rules gives."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

RuleStatus = Literal["pass", "fail", "skip", "info"]

# What must be possible before a rule can be checked: to have loaded the file, to build the method, to take a
# training step; for a rule on the encoder, a step if the method pretrains, otherwise to build it.
Need = Literal["file", "method", "step", "encoder"]

SCHEMA_VERSION = 1

NOT_FINITE = (
    "from this step on a weight or a term overflows, or something is divided by zero: guard divisions, roots "
    "and logarithms, and look at what the hooks and the optimiser do to weights and buffers before it"
)


class Unmet(Exception):
    """A method does not do what a rule expects; the message says what it does instead.

    Args:
        found: the message.
        hint: how to mend just this; empty where the rule's own hint fits.
    """

    def __init__(self, found: str, hint: str = "") -> None:
        super().__init__(found)
        self.hint = hint


class NotFinite(Unmet):
    """Training comes to NaN or infinity, so nothing that needs those steps can be checked."""

    def __init__(self, found: str) -> None:
        super().__init__(found, NOT_FINITE)


class NotApplicable(Exception):
    """A rule cannot be checked for this method or on this machine; the message says why."""


@dataclass(frozen=True)
class Rule:
    """One thing that is expected of every method.

    Attributes:
        name: shown in the first column of the table.
        expected: what a method must do.
        hint: how to mend a method that does not do it.
        find: checks a :class:`bench.conformance.trial.Trial` and says what was found; raises
            :class:`Unmet` or :class:`NotApplicable`.
        needs: what must be possible before it can be checked.
        informs: whether what was found is for information, and nothing is passed or failed.
    """

    name: str
    expected: str
    hint: str
    find: Callable[[Any], str]
    needs: Need = "step"
    informs: bool = False


@dataclass(frozen=True)
class RuleOutcome:
    """What checking one rule gave.

    Attributes:
        name: of the rule.
        status: ``skip`` if it could not be checked, ``found`` then says why; ``info`` for a measurement.
        expected: what a method must do.
        found: what this method did.
        hint: how to mend the method; empty unless the status is ``fail``.
    """

    name: str
    status: RuleStatus
    expected: str
    found: str
    hint: str = ""


@dataclass(frozen=True)
class CheckReport:
    """The outcomes of all rules for one file; as JSON, what ``bench check-method --json`` prints.

    Attributes:
        file: path as the user gave it.
        sha256: of the file's content.
        method: name of the class.
        settings: hyper-parameters by row of params.yaml, defaults included.
        checks: outcomes in the order in which the rules were checked; empty if the checks were left out.
        speed_ratio: seconds of a training step over those of ``moco``; None where not measured.
        memory_ratio: memory of a training step over that of ``moco``; None where not measured.
        versions: of the packages that can move a number.
    """

    file: str
    sha256: str
    method: str
    settings: dict[str, dict[str, Any]]
    checks: tuple[RuleOutcome, ...]
    speed_ratio: float | None
    memory_ratio: float | None
    versions: dict[str, str]

    @property
    def failed(self) -> list[RuleOutcome]:
        """The outcomes of the rules that were not met."""
        return [outcome for outcome in self.checks if outcome.status == "fail"]

    def as_json(self) -> str:
        """A JSON object: ``schema_version``, ``passed``, and all attributes of report and outcomes."""
        content = {"schema_version": SCHEMA_VERSION, "passed": not self.failed, **asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False)
