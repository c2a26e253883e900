"""What verbs have found is kept with its time, beside the run and not in it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.cells.store import last_checks


def test_the_last_finding_is_kept_with_its_time(project):
    last_checks.keep("verify", "everything agrees", {"agreed": True})
    assert not last_checks.FOLDER.exists()  # nothing has run here
    Path(".bench").mkdir()
    last_checks.keep("verify", "not everything agrees", {"agreed": False})
    last_checks.keep("verify", "everything agrees", {"agreed": True})
    (file,) = last_checks.FOLDER.iterdir()
    kept = json.loads(file.read_text())
    assert datetime.now(UTC) - datetime.fromisoformat(kept.pop("time")) < timedelta(minutes=1)
    assert kept == {
        "command": "bench verify",
        "verdict": "everything agrees",
        "fine": None,
        "about": "",
        "found": {"agreed": True},
    }


def test_a_disk_that_takes_no_note_is_no_failure(project):
    Path(".bench").mkdir()
    last_checks.FOLDER.write_text("a file in the place of the folder")
    last_checks.keep("verify", "everything agrees", {})
