"""``bench report --compare`` and ``--schema`` as a user sees them."""

import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from bench.analysis.differences import DifferenceRow
from bench.cli import app
from bench.commands.results.report import check_ids, comparison_table, explanation
from bench.launch.run_stage import run_stage
from bench.protocol.protocol import read_protocol
from bench.report.material.wording import p_figure, p_value
from imssl.errors import UserError


def printed(table):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_a_run_without_any_result_is_refused_with_what_to_run(prepared_project):
    result = CliRunner().invoke(app, ["report", "--compare", "moco-barlow", "moco"])
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == "--compare: there are no results to compare yet. Run: dvc repro"
    assert result.output == ""
    assert not (prepared_project / "reports").exists()


def test_methods_without_results_are_compared_as_holes(prepared_project):
    # The cheapest cell, of a method that is not compared.
    for arguments in (["inputs"], ["pretrain", "chest", "random-init"]):
        assert run_stage(arguments) == 0
    result = CliRunner().invoke(app, ["report", "--compare", "moco-barlow", "moco"])
    assert result.exit_code == 0, result.output
    # A hole in every row of four tables, and the reason once below each table and data set.
    rows = [line for line in result.output.splitlines() if "missing" in line and "seed" not in line]
    assert len(rows) == 2 * (3 * 2 + 4)
    assert result.output.count("moco-barlow: seed 0 missing; moco: seed 0 missing") == 2 * 4
    assert "moco-barlow minus moco" in result.output
    assert not (prepared_project / "reports").exists()


@pytest.mark.parametrize(
    ("pair", "message"), [(("mocco", "moco"), "no method mocco"), (("moco", "moco"), "itself")]
)
def test_wrong_ids_are_refused(project, pair, message):
    with pytest.raises(UserError, match=message):
        check_ids(read_protocol(), *pair)
    result = CliRunner().invoke(app, ["report", "--compare", *pair])
    assert isinstance(result.exception, UserError)


def test_the_table_shows_effect_interval_and_both_p_values():
    row = dict.fromkeys(DifferenceRow.columns(), np.nan) | {
        "dataset": "chest",
        "fraction": 0.01,
        "drawn": "7 + 1 images",
        "metric": "auroc",
    }
    row |= {"effect": 0.0314, "low": -0.01, "high": 0.0728, "p": 0.0123, "p_corrected": 0.0004, "reason": ""}
    text = printed(comparison_table(pd.DataFrame([{**row, "distinguishable": True}]), "Fine-tuning", 0.9))
    for shown in (
        "Fine-tuning",
        "90% interval",
        "1%",
        "7 + 1 images",
        "+0.031",
        "−0.010 to 0.073",
        "0.012",
        "< 0.001",
    ):
        assert shown in text


def test_what_seeds_can_show_is_said(project, edited):
    alone = explanation(read_protocol(), "moco", "random-init")
    assert "over test patients only" in alone
    assert "one seed cannot show" in alone
    assert "Bold" not in alone
    assert "two seeds show roughly" in explanation(
        edited("seeds: [0]", "seeds: [0, 1]"), "moco", "random-init"
    )
    enough = explanation(edited("seeds: [0, 1]", "seeds: [0, 1, 2]"), "moco", "random-init")
    assert "over test patients and 3 seeds" in enough
    assert "Bold: p below" in enough


@pytest.mark.parametrize("p", [0.0, 0.0004, 0.0006, 0.04])
def test_page_and_terminal_write_a_p_value_alike(p):
    assert p_value(p).replace("= ", "").removeprefix("p ") == p_figure(p)
    row = dict.fromkeys(DifferenceRow.columns(), np.nan)
    row |= {
        "dataset": "d",
        "metric": "auroc",
        "effect": 0.1,
        "p": p,
        "reason": "",
        "distinguishable": False,
        "drawn": "",
    }
    assert p_figure(p) in printed(comparison_table(pd.DataFrame([row]), "Probes", 0.95))


def test_the_schema_is_json():
    result = CliRunner().invoke(app, ["report", "--schema"])
    assert result.exit_code == 0
    assert json.loads(result.output)["properties"]["schema_version"]["const"] == 4
