import json
from pathlib import Path

import pytest

from bench.studies.paper import BLOCKS, NOT_RUN, paper_of, planned, table, write_paper
from imssl.errors import UserError

ROOT = Path(__file__).parents[3]
PAPERS = sorted((ROOT / "docs").glob("study*.md"))


@pytest.fixture
def paper(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = Path("docs/study.md")
    file.parent.mkdir()
    file.write_text((ROOT / "docs" / "study.md").read_text(encoding="utf-8"), encoding="utf-8")
    return file


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.stem)
def test_a_paper_has_every_block_and_no_other(paper):
    text = paper.read_text(encoding="utf-8")
    for block in ("planned", *BLOCKS):
        assert text.count(f"<!-- study: {block} -->") == 1
    assert text.count("<!-- end -->") == 1 + len(BLOCKS)


def test_before_the_run_it_says_so(paper):
    write_paper(None)
    text = paper.read_text(encoding="utf-8")
    assert text.count(NOT_RUN) == 1 + len(BLOCKS)
    write_paper(None)
    assert paper.read_text(encoding="utf-8") == text


def test_what_was_planned_is_a_table_of_what_bench_plan_said(paper):
    stage = {"stage": "pretrain", "cells": 72, "seconds": 7200.0}
    column = {
        "dataset": "chest", "evaluation": "frozen", "fraction": 0.1, "labels_per_class": None, "block": None,
        "patients": 40, "seed_deviation": 0.01, "patient_error": 0.02, "detectable": 0.0654,
    }  # fmt: skip
    Path("docs/study-planned.json").write_text(
        json.dumps({"plan": {"stages": [stage]}, "power": {"columns": [column]}})
    )
    text = planned(paper)
    assert "| pretrain | 72 | 2.0 |" in text
    assert "| chest | Linear classifier on the frozen encoder | 10% | 40 | 0.010 | 0.020 | 0.065 |" in text


def test_a_study_with_a_page_of_its_own_is_told_there(paper):
    own = paper.with_name("study-second.md")
    assert paper_of("second") == paper_of(None) == paper
    own.write_text("<!-- study: planned -->\n<!-- end -->\n")
    assert paper_of("second") == own
    assert paper_of("first") == paper


def test_an_unknown_block_is_named(paper):
    paper.write_text("<!-- study: gossip -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="a block gossip; there are: planned, tuning, facts"):
        write_paper(None)
    paper.unlink()
    with pytest.raises(UserError, match="does not exist"):
        write_paper(None)


def test_a_sign_of_the_table_in_a_cell_is_escaped():
    assert table(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"
