"""What was last checked stands on the page that `bench report` writes, and not on the one that DVC writes."""

import json
from pathlib import Path

import pytest

from bench.cells.store.last_checks import LastCheck, digest_of_results
from bench.report.leaderboard import write_reports
from bench.report.pages.checks_panel import checks_in, checks_panel, without_checks
from bench.summary.read import read_results
from bench.summary.summary import summarise
from tests.bench.report.reading import table_of
from tests.bench.small_run import small_protocol

LEADERBOARD = Path("reports/leaderboard.html")


@pytest.fixture(scope="module")
def summary(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)
        protocol = small_protocol()
        return summarise(protocol, read_results(protocol))


def check(summary, about=None):
    records = {cell: state.record for cell, state in summary.results.states.items()}
    digest = digest_of_results(records) if about is None else about
    return LastCheck("bench verify", "2026-01-02T03:04:05+00:00", "all <agrees>", True, digest)


def test_the_page_says_what_was_found_when_and_whether_it_is_about_these_results(summary):
    panel = checks_panel(summary, [check(summary)])
    assert "all &lt;agrees&gt;" in panel
    assert "2026-01-02 03:04:05" in panel
    assert ">yes<" in table_of(panel, "last-checks")
    stale = checks_panel(summary, [check(summary, "of something else")])
    assert "no: something has changed, ask again" in stale
    assert "bench audit-data, then bench report" in panel


def test_a_page_with_checks_is_that_of_dvc_but_for_them(copy, summary):
    dvcs = LEADERBOARD.read_bytes()
    assert checks_in(LEADERBOARD) == []
    assert without_checks(dvcs) == dvcs
    write_reports(small_protocol(), checks=[check(summary)])
    assert LEADERBOARD.read_bytes() != dvcs
    assert checks_in(LEADERBOARD) == [check(summary)]
    assert without_checks(LEADERBOARD.read_bytes()) == dvcs


def test_what_is_no_leaderboard_has_no_checks(tmp_path):
    file = tmp_path / "page.html"
    assert checks_in(file) == []
    for kept in ("[", json.dumps([{"command": 1}]), json.dumps([1]), "{}"):
        file.write_text(f'<script type="application/json" id="kept-checks">{kept}</script>')
        assert checks_in(file) == []
