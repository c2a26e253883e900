"""What the verbs that check have last found, first in “Can I trust it?”.

`bench report` fills it. The page that DVC writes has no checks in it, so that equal results give equal files.
`bench verify` makes the page again with the checks that it finds in it, and compares what dvc.lock says with
the page without them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from markupsafe import Markup

from bench.cells.store.last_checks import (
    LastCheck,
    check_from,
    digest_of_data,
    digest_of_results,
    digest_of_versions,
)
from bench.methods.checked import check_state
from bench.protocol.cell import cell_named
from bench.report.layout import Column, Entry, Row, Table, listed
from bench.report.page import render_part
from bench.report.pages.settings import Facts
from bench.summary.summary import Summary
from imssl.errors import UserError

# The verbs that keep what they find, and what a reader asks them.
QUESTIONS = {
    "bench verify": "Do checksums and numbers agree?",
    "bench rerun": "Does a cell come out again?",
    "bench audit-data": "Is a patient or an image in two splits?",
    "bench doctor": "Is the machine fit for it?",
}
KEPT = re.compile(r'<script type="application/json" id="kept-checks">(.*?)</script>', re.DOTALL)
PANEL = re.compile(r"<!-- last checks -->.*?<!-- end of last checks -->\n", re.DOTALL)


def checks_in(page: Path) -> list[LastCheck]:
    """The checks that a leaderboard shows; none where it is no leaderboard."""
    try:
        kept = KEPT.search(page.read_text(encoding="utf-8"))
        return [check_from(check) for check in json.loads(kept[1])] if kept else []
    except (OSError, ValueError, TypeError):
        return []


def without_checks(page: bytes) -> bytes:
    """A leaderboard as DVC writes it: with no checks in it."""
    panel = checks_panel(None, ()).encode()
    return re.sub(PANEL.pattern.encode(), lambda _: panel, page, count=1, flags=re.DOTALL)


def checks_panel(summary: Summary | None, checks: Sequence[LastCheck]) -> Markup:
    """The last answer of each verb, when it was given, and whether it is about these results.

    Args:
        summary: of the run; None where there are no checks, of which nothing has to be known then.
        checks: what the verbs have last found.
    """
    by_command = {check.command: check for check in checks}
    rows = tuple(_row(command, by_command.get(command), summary) for command in QUESTIONS)
    heads = ("asked by", "last answer", "when (UTC)", "about these results")
    columns = tuple(Column(head, numeric=False) for head in heads)
    table = Table("last-checks", "Last checks", "Question", columns, rows)
    part = render_part(
        "last_checks.html", {"checks": table, "kept_checks": [asdict(check) for check in checks]}
    )
    # What is before the first mark is not part of the panel, so that it can be found and replaced.
    return Markup(PANEL.search(part)[0])  # type: ignore[index]


def standing_checks(summary: Summary) -> Facts:
    """What is known of method files and hardware without anybody asking."""
    return [("Method files", _method_checks(summary)), ("Computed on", _hardware(summary))]


def _row(command: str, check: LastCheck | None, summary: Summary | None) -> Row:
    if check is None or summary is None:
        texts: tuple[str, ...] = (command, f"not on this page yet: {command}, then bench report", "–", "–")
    else:
        verdict = check.verdict if check.fine is not False else f"Not fine: {check.verdict}"
        when = check.time.replace("T", " ").removesuffix("+00:00")
        is_current = _is_about(check, summary)
        texts = (command, verdict, when, "yes" if is_current else "no: something has changed, ask again")
    entries = [
        Entry(text, numeric=False, hole=check is None and place == 1) for place, text in enumerate(texts)
    ]
    return Row(QUESTIONS[command], tuple(entries))


def _is_about(check: LastCheck, summary: Summary) -> bool:
    """Whether what a check looked at is what is here now."""
    records = {cell: state.record for cell, state in summary.results.states.items()}
    if check.command == "bench verify":
        return check.about == digest_of_results(records)
    if check.command == "bench rerun":
        try:
            cell = cell_named(check.verdict.split(" ")[0], summary.protocol)
        except UserError:  # a cell of another protocol
            return False
        return check.about == digest_of_results({cell: records.get(cell)})
    if check.command == "bench audit-data":
        return check.about == digest_of_data(summary.results.cards)
    made_with = {digest_of_versions(record.provenance.packages) for record in records.values() if record}
    return made_with == {check.about}


def _method_checks(summary: Summary) -> str:
    """How many method files are the suite's own, have passed, or are not known to keep the contract."""
    counts: dict[str, list[str]] = {}
    for method in summary.protocol.methods:
        try:
            state = check_state(method, summary.protocol).state
        except UserError:
            state = "skipped"
        counts.setdefault(state, []).append(method)
    said = {
        "built-in": "part of the suite",
        "passed": "passed",
        "changed": "changed since it passed",
        "skipped": "never checked",
    }
    return "; ".join(f"{listed(counts[state])}: {words}" for state, words in said.items() if state in counts)


def _hardware(summary: Summary) -> str:
    """Devices on which encoders were trained and fine-tuned; they name the processor, or the GPU."""
    devices: dict[str, None] = {}
    for cell, state in summary.results.states.items():
        if state.record and cell.stage in ("pretrain", "finetune"):
            devices[state.record.provenance.device] = None
    return listed(sorted(devices)) or "nothing yet"
