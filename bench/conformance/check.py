"""What a check is, and what the checks of one method file found."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bench.conformance.trial import Trial

RuleStatus = Literal["pass", "fail", "skip"]

SCHEMA_VERSION = 1


class Unmet(Exception):
    """A method does not do what a rule expects; the message says what was found instead."""


class NotApplicable(Exception):
    """A rule cannot be tried on this method or machine; the message says why."""


@dataclass(frozen=True)
class Rule:
    """One thing that is expected of every method.

    Attributes:
        name: first column of the table.
        expected: what a method must do.
        hint: how to mend a method that does not.
        find: tries it and says what was found; raises :class:`Unmet` or :class:`NotApplicable`.
        trains: whether it needs a method that can take a step.
    """

    name: str
    expected: str
    hint: str
    find: "Callable[[Trial], str]"
    trains: bool = True


@dataclass(frozen=True)
class RuleOutcome:
    """What came of one rule.

    Attributes:
        name: of the rule.
        status: ``skip`` where it could not be tried; ``found`` says why.
        expected: what a method must do.
        found: what this one did.
        hint: how to mend it; empty unless it failed.
    """

    name: str
    status: RuleStatus
    expected: str
    found: str
    hint: str = ""


@dataclass(frozen=True)
class CheckReport:
    """All checks of one file; as JSON, what ``bench check-method --json`` prints.

    Attributes:
        file: path as given.
        sha256: of the file's content.
        method: name of the class.
        settings: hyper-parameters by row of params.yaml, defaults filled in.
        checks: in the order in which they ran; empty where they were left out.
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
        """The checks that failed."""
        return [check for check in self.checks if check.status == "fail"]

    def as_json(self) -> str:
        """One JSON object: ``schema_version``, ``passed``, and every attribute of this class and of Check."""
        content = {"schema_version": SCHEMA_VERSION, "passed": not self.failed, **asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False)
