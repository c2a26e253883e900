"""What the verbs that check have last found in a checkout: .bench/checks/<verb>.json.

Nothing that DVC watches depends on it. `bench report` shows it on the leaderboard; the page that DVC writes
has an empty place there, so that equal results give equal files whatever was checked, and when.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cells.files import STORE, cell_path, write_json
from bench.cells.records import CellRecord, read_record
from bench.protocol.cell import Cell
from imssl.datasets.prepared import Card
from imssl.errors import UserError

FOLDER = STORE / "checks"


@dataclass(frozen=True)
class LastCheck:
    """What a verb has last found.

    Attributes:
        command: that was run.
        time: UTC, ISO 8601.
        verdict: in one sentence.
        fine: whether nothing was wrong; None where the verb does not judge.
        about: digest of what it looked at; a check of something else is stale.
    """

    command: str
    time: str
    verdict: str
    fine: bool | None = None
    about: str = ""


def keep(
    verb: str,
    verdict: str,
    content: object,
    *,
    fine: bool | None = None,
    about: str = "",
    project: Path = Path(),
) -> None:
    """Keep what a verb has found in place of what it found before; a folder without a run stays as it is.

    Args:
        verb: of ``bench``.
        verdict: in one sentence.
        content: what ``--json`` prints.
        fine: whether nothing was wrong.
        about: digest of what was looked at.
        project: its folder.
    """
    if not (project / STORE).is_dir():
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = asdict(LastCheck(f"bench {verb}", now, verdict, fine, about)) | {"found": content}
    # What was asked for has been done and is printed; a disk that takes no note of it does not change that.
    with contextlib.suppress(OSError):
        write_json(project / FOLDER / f"{verb}.json", record)


def last_checks(project: Path = Path()) -> list[LastCheck]:
    """What verbs have last found here, by name of the verb; a file that is not readable is as none."""
    checks = []
    for file in sorted((project / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            content = json.loads(file.read_text(encoding="utf-8"))
            checks.append(check_from({name: value for name, value in content.items() if name != "found"}))
    return checks


def check_from(content: Mapping[str, Any]) -> LastCheck:
    """A check from its JSON.

    Raises:
        TypeError: it has other fields, or text is missing where there must be some.
    """
    check = LastCheck(**content)
    if not all(isinstance(text, str) for text in (check.command, check.time, check.verdict, check.about)):
        raise TypeError("a check's command, time, verdict and digest are text")
    return check


def records_at(cells: Iterable[Cell]) -> dict[Cell, CellRecord | None]:
    """Records of cells as they lie in results/; None where there is no readable one."""
    records: dict[Cell, CellRecord | None] = {}
    for cell in cells:
        try:
            records[cell] = read_record(cell_path(cell))
        except UserError:
            records[cell] = None
    return records


def digest_of_results(records: Mapping[Cell, CellRecord | None]) -> str:
    """What a check of results is about: which cells there are, and what their files hold."""
    return _digest({cell.name: record.own_checksum() for cell, record in records.items() if record})


def digest_of_data(cards: Mapping[str, Card]) -> str:
    """What a check of the prepared data is about, by data set: their files."""
    return _digest({name: card.checksums for name, card in cards.items()})


def digest_of_versions(packages: Mapping[str, str]) -> str:
    """What a look at the machine is about, as far as it moves numbers: the versions of the libraries."""
    return _digest(packages)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
