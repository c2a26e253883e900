"""bench/checked/<file>.json: what the checks of an added method file found, and of which content."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.conformance.check import CheckReport, Status
from imssl.errors import UserError

FOLDER = Path(__file__).parent / "checked"


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
    results: dict[str, Status]
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
