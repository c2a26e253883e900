"""``bench plan --power`` as a user sees it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from imssl.errors import UserError

PILOT = Path(__file__).parents[1] / "analysis" / "results_version_2.json"


def test_a_pilot_says_what_can_be_found(project):
    result = CliRunner().invoke(app, ["plan", "--power", "--pilot", str(PILOT), "--effect", "0.05"])
    assert result.exit_code == 0, result.output
    assert "seeds for 0.050" in result.output
    assert "could find, 3 seeds" in result.output
    # This protocol has one seed.
    assert "three are the least" in result.output
    printed = CliRunner().invoke(app, ["plan", "--power", "--pilot", str(PILOT), "--json"])
    columns = json.loads(printed.output)["columns"]
    assert columns
    assert all(column["detectable"] > 0 and column["seeds"] == 3 for column in columns)


def test_without_two_seeds_nothing_can_be_said(prepared_project):
    result = CliRunner().invoke(app, ["plan", "--power"])
    assert isinstance(result.exception, UserError)
    assert "name a pilot" in str(result.exception)


@pytest.mark.parametrize("option", [["--effect", "0.1"], ["--pilot", "results.json"]])
def test_options_of_power_need_it(project, option):
    result = CliRunner().invoke(app, ["plan", *option])
    assert isinstance(result.exception, UserError)
    assert "--power" in str(result.exception)
