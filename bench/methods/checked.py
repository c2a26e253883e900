"""Records of passed checks, one for every added method file: checked/<file>.json in bench, or in methods."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.conformance.rule import CheckReport, RuleStatus
from bench.protocol.protocol import Protocol
from bench.protocol.registry import (
    METHODS_FOLDER,
    OF_THE_SUITE,
    added_methods,
    method_file,
    place_of_method,
    shown,
)
from bench.protocol.source_files.places import own_methods
from imssl.errors import UserError

# In a checkout of the suite.
FOLDER = Path(__file__).parents[1] / "checked"


class CheckRecord(BaseModel):
    """The record of a method file's passed checks, to be committed with the file.

    Attributes:
        schema_version: of this record.
        file: name of the method file in imssl/methods.
        sha256: of its content when it was checked.
        checked: when it was checked: UTC, ISO 8601.
        versions: of the packages that can change a number.
        results: status by name of the rule.
        reasons: why a rule could not be checked, by its name.
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
    """Where the record of a method file is kept, or is to be kept: beside the file, but for a checkout's."""
    folders = [FOLDER, own_methods() / "checked"]
    if added_methods() != METHODS_FOLDER:
        folders.reverse()
    files = [folder / f"{Path(file_name).stem}.json" for folder in folders]
    return next((file for file in files if file.is_file()), files[0])


def record_of(report: CheckReport, file_name: str) -> CheckRecord:
    """The record of a report in which no check failed.

    Args:
        report: of the checks.
        file_name: that the method file gets in imssl/methods.
    """
    return CheckRecord(
        file=file_name,
        sha256=report.sha256,
        checked=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=report.versions,
        results={check.name: check.status for check in report.checks},
        reasons={check.name: check.found for check in report.checks if check.status == "skip"},
    )


def read_check_record(file_name: str) -> CheckRecord | None:
    """The record of a method file; None if there is none.

    Raises:
        UserError: it is not a record as this version writes it.
    """
    file = record_file(file_name)
    if not file.is_file():
        return None
    try:
        return CheckRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"checked/{file.name} is not a record of checks: {error}\n"
            f"Write it again with: bench update-method NAME {shown(place_of_method(file_name))}"
        ) from None


@dataclass(frozen=True)
class CheckState:
    """Whether a method's file has passed the checks of bench.conformance.

    Attributes:
        state: ``built-in``: the suite's own tests cover the file; ``passed``; ``skipped``: it was never
            checked; ``changed``: it has changed since it passed.
        sentence: the same for the reader, with what to do about it.
    """

    state: Literal["built-in", "passed", "skipped", "changed"]
    sentence: str


def check_state(method: str, protocol: Protocol) -> CheckState:
    """Whether a method's file, as it is now, has passed its checks.

    Raises:
        UserError: it has no file, or the record of its checks is damaged.
    """
    file = method_file(method, protocol)
    if file.name in OF_THE_SUITE:
        return CheckState("built-in", f"{method} is part of the suite, whose tests cover it.")
    record = read_check_record(file.name)
    remedy = f"Check it with: bench update-method {method} {shown(file)}"
    if record is None:
        return CheckState("skipped", f"{method}: the checks of its file were skipped. {remedy}")
    if record.sha256 != hashlib.sha256(file.read_bytes()).hexdigest():
        return CheckState("changed", f"{method}: its file has changed since it passed the checks. {remedy}")
    return CheckState("passed", f"{method} passed the checks on {record.checked[:10]}.")
