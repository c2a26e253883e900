"""What the tables mark, by number of seeds, and how verdicts and references are shown."""

import pytest

from bench.analysis.analyse import analyse
from bench.report.answer.headline import headline
from bench.report.material.wording import REFERENCE, p_value
from bench.report.tables.comparisons import Scope, difference_table, score_table
from bench.report.tables.over_datasets import efficiency_table
from bench.report.tables.paper_tables import claim_table
from bench.report.view import view_of


def skill(cell, block):
    return {"random-init": 0.2, "moco": 0.8}.get(cell.method, 3.0)


@pytest.fixture
def view(protocol_of, results_of, summary_of, monkeypatch):
    monkeypatch.setattr("bench.analysis.reproduction.claims.synthetic_datasets", lambda *_: [])

    def make(seeds):
        protocol = protocol_of(methods=["random-init", "moco", "moco-mse", "moco-barlow"], seeds=range(seeds))
        summary = summary_of(protocol, results_of(protocol, skill))
        return view_of(summary, analyse(summary))

    return make


def marks_of(table):
    return {entry.mark for row in table.rows for entry in row.entries}


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_marks_need_three_seeds(view, seeds):
    made = view(seeds)
    scope = Scope(made, ("one", "two"), "")
    scores, differences = score_table(scope, "finetune"), difference_table(scope, "finetune")
    small = [
        line for row in (*scores.rows, *differences.rows) for entry in row.entries for line in entry.small
    ]
    assert ("worse" in marks_of(scores)) == ("better" in marks_of(differences)) == (seeds == 3)
    assert marks_of(scores) <= {"", "worse"}
    assert any(line.startswith("p ") for line in small) == (seeds == 3)
    assert any("rank 1 (" in line or "rank 2 (" in line for line in small) == (seeds == 3)
    for note in (scores.note, differences.note, headline(made).answer):
        assert ("three are the least" in note) == (seeds < 3)
    assert ("test patients only" in scores.note) == (seeds == 1)


def test_references_stand_where_their_score_is_and_have_neither_rank_nor_mark(view):
    scores = score_table(Scope(view(3), ("one", "two"), ""), "finetune")
    (place,) = [place for place, row in enumerate(scores.rows) if row.label == "random-init"]
    assert [row.note for row in scores.rows] == ["", "", "", REFERENCE]
    assert not any("rank" in line for entry in scores.rows[place].entries for line in entry.small)
    assert {entry.mark for entry in scores.rows[place].entries} == {""}


def test_the_p_of_a_difference_is_as_uncorrected_as_its_interval(view):
    made = view(3)
    table = difference_table(Scope(made, ("one", "two"), ""), "finetune")
    shown = [line for row in table.rows for entry in row.entries for line in entry.small if line[:2] == "p "]
    rows = made.analysis.differences[made.analysis.differences["evaluation"] == "finetune"]
    assert sorted(shown) == sorted(p_value(p) for p in rows["p"])
    for row in rows.itertuples():
        # Student's interval excludes 0 exactly where its p is below 0.05.
        assert (row.low > 0 or row.high < 0) == (row.p < 0.05)


def test_a_verdict_shows_scale_power_and_every_data_set(view):
    made = view(3)
    table = claim_table(made.analysis.claims, made.analysis.claim_effects, 0.95)
    gain = table.rows[0]
    assert gain.entries[2].text == "reproduced, at 32 pixels, ResNet-18 of width 16; other data: one, two"
    assert any(line.startswith("could find 0.") for line in gain.entries[2].small)
    assert any(line.startswith("size: ") for line in gain.entries[2].small)
    assert gain.entries[1].small[1] == "over test patients and seeds"
    assert {line.split(",")[0] for line in gain.entries[1].small[2:]} == {"one", "two"}
    assert "The 12 verdicts are one family" in table.note
    assert "up to 0.3 of them" in table.note


def test_labels_are_said_to_be_saved_at_least(view):
    scope = Scope(view(3), ("one",), "")
    saved = {row.label: row.entries[1] for row in efficiency_table(scope, "finetune").rows}
    assert saved["moco-mse"].text.startswith("at least ")
    assert "of 1,040 labels" in saved["moco-mse"].small[0]
    assert saved["random-init"].hole
