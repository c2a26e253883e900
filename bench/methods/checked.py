"""bench/checked/<file>.json: what the checks of an added method file found, and of which content."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.conformance.check import CheckReport, RuleStatus
from bench.protocol.protocol import Protocol
from imssl.errors import UserError

if TYPE_CHECKING:
    pass
from bench.protocol.registry import BUILT_IN, method_file

FOLDER = Path(__file__).parents[1] / "checked"


class CheckRecord(BaseModel):
    """A passed check, committed with the method file.

    Attributes:
        schema_version: of this file.
        file: name of the method file in imssl/methods.
        sha256: of its content when it was checked.
        checked: UTC, ISO 8601.
        versions: of the packages that can move a number.
        results: status by name of the check.
        reasons: why a check was not tried, by its name.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    file: str
    sha256: str
    checked: str
    versions: dict[str, str]
    results: dict[str, RuleStatus]
    reasons: dict[str, str]


def record_file(file_name: str) -> Path:
    """Where the record of a method file lies."""
    return FOLDER / f"{Path(file_name).stem}.json"


def record_of(report: CheckReport, file_name: str) -> CheckRecord:
    """The record of a report without a failed check, for the name that the file gets in imssl/methods."""
    return CheckRecord(
        file=file_name,
        sha256=report.sha256,
        checked=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=report.versions,
        results={check.name: check.status for check in report.checks},
        reasons={check.name: check.found for check in report.checks if check.status == "skip"},
    )


def read_check_record(file_name: str) -> CheckRecord | None:
    """The record of a method file; None where there is none.

    Raises:
        UserError: it is not what this version writes.
    """
    file = record_file(file_name)
    if not file.is_file():
        return None
    try:
        return CheckRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"bench/checked/{file.name} is not a record of checks: {error}\n"
            f"Write it anew with: bench update-method NAME imssl/methods/{file_name}"
        ) from None


@dataclass(frozen=True)
class CheckState:
    """Whether a method's file has passed the checks of bench.conformance.

    Attributes:
        state: ``built-in`` files are covered by the suite's own tests; ``changed`` since they passed.
        sentence: for the reader.
    """

    state: Literal["built-in", "passed", "skipped", "changed"]
    sentence: str


def check_state(method: str, protocol: Protocol) -> CheckState:
    """What is known of the checks of a method.

    Raises:
        UserError: it has no file, or the record of its checks is damaged.
    """
    file = method_file(method, protocol)
    if file.name in BUILT_IN:
        return CheckState("built-in", f"{method} is part of the suite, whose tests cover it.")
    record = read_check_record(file.name)
    mend = f"Check it with: bench update-method {method} imssl/methods/{file.name}"
    if record is None:
        return CheckState("skipped", f"{method}: the checks of its file were skipped. {mend}")
    if record.sha256 != hashlib.sha256(file.read_bytes()).hexdigest():
        return CheckState("changed", f"{method}: its file has changed since it passed the checks. {mend}")
    return CheckState("passed", f"{method} passed the checks on {record.checked[:10]}.")
