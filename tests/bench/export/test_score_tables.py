"""Tables for a paper, against the numbers of results.csv."""

import re

import numpy as np
import pytest

from bench.analysis.analyse import analyse
from bench.export.critical_difference import CriticalDifference, critical_difference
from bench.export.latex import as_latex
from bench.export.markdown import as_markdown, letter
from bench.export.score_tables import Score, ScoreColumn, ScoreTable, score_tables
from bench.report.view import view_of

FRACTIONS = {"10% of labels": 0.1, "100% of labels": 1.0}
HOSTILE = ScoreTable(
    "finetune",
    "50% & more_",
    (ScoreColumn("a|b (x_y)", "1%"), ScoreColumn("a|b (x_y)", "2%")),
    {
        "m_1": (Score("−0.5", "[−1 to 0]", is_best=True), Score("0.1", is_tied=True)),
        "m2": (Score("–", notes=(0,)),) * 2,
    },
    ("seed 1 failed: 1 < 2 | #3",),
    "All $ of {it}.",
)  # fmt: skip


@pytest.fixture(scope="module")
def tables(view):
    return {table.evaluation: table for table in score_tables(view)}


def expected(means, evaluation, dataset, fraction):
    rows = means[(means["evaluation"] == evaluation) & (means["dataset"] == dataset)]
    return rows[rows["fraction"] == fraction].set_index("method")["mean"]


def test_every_evaluation_has_a_table(tables):
    assert list(tables) == ["finetune", "frozen", "knn", "probe"]


@pytest.mark.parametrize("evaluation", ["finetune", "frozen", "knn"])
def test_means_are_those_of_the_runs_and_the_best_is_marked(tables, means, evaluation):
    table = tables[evaluation]
    assert len(table.columns) == 2 * 2 + 1
    for place, column in enumerate(table.columns[:-1]):
        dataset = column.group.split(" ")[0]
        truth = expected(means, evaluation, dataset, FRACTIONS[column.name])
        best = truth.drop("random-init").idxmax()
        for name, scores in table.rows.items():
            method, score = name.removesuffix(" (reference)"), scores[place]
            if method in truth:
                assert float(score.mean.replace("−", "-")) == pytest.approx(truth[method], abs=5.1e-4)
                assert score.interval
            else:
                assert score.mean == "–"
                assert table.footnotes[score.notes[0]] == "seed 1 failed"
            assert score.is_best == (method == best)
            assert not (score.is_best and score.is_tied)


@pytest.mark.parametrize(("seeds", "says"), [(1, "One seed cannot"), (2, "Two seeds show roughly"), (3, "")])
def test_below_the_least_number_of_seeds_nothing_is_bold_and_no_diagram_drawn(
    protocol_of, results_of, summary_of, seeds, says
):
    skills = {"random-init": 0.1, "moco": 4.0, "moco-mse": 0.5}
    protocol = protocol_of(methods=list(skills), seeds=range(seeds))
    summary = summary_of(protocol, results_of(protocol, lambda cell, _: skills[cell.method]))
    made = view_of(summary, analyse(summary))
    tables, diagram = score_tables(made), critical_difference(made, "frozen")
    assert len(tables) == 4
    for table in tables:
        marked = [score for row in table.rows.values() for score in row if score.is_best or score.is_tied]
        assert bool(marked) == (not says)
    written = as_markdown(tables), as_latex(tables)
    assert ["**" in written[0], "textbf" in written[1]] == [not says] * 2
    if says:
        continued = says[0].lower() + says[1:]
        assert isinstance(diagram, str)
        assert "no critical-difference diagram" in diagram
        assert continued in diagram
        assert all(f"Nothing is marked: {continued}" in table.explanation for table in tables)
        assert all("Bold" not in table.explanation for table in tables)
    else:
        assert isinstance(diagram, CriticalDifference)


def test_beside_a_share_stands_what_was_drawn(tables):
    """80 training and 20 validation images: 8 + 2 at 10%."""
    heads = [column.lines for column in tables["finetune"].columns[:-1]]
    assert heads == [["10% of labels", "8 + 2 images"], ["100% of labels", "80 + 20 images"]] * 2
    assert all(column.drawn == "" for column in tables["probe"].columns)
    markdown, latex = (make([tables["finetune"]]) for make in (as_markdown, as_latex))
    assert "<br>10% of labels<br>8 + 2 images |" in markdown
    assert r"\shortstack[r]{10\% of labels\\{\scriptsize 8 + 2 images}}" in latex
    assert "labels that were drawn" in tables["finetune"].explanation
    filled_up = ScoreColumn("a", "1% of labels", "12 + 2 images, 1.5% drawn")
    assert filled_up.lines == ["1% of labels", "12 + 2 images", "1.5% drawn"]


def test_the_mean_rank_is_the_mean_of_the_ranks(tables, means):
    table = tables["frozen"]
    ranks = []
    for column in table.columns[:-1]:
        truth = expected(means, "frozen", column.group.split(" ")[0], FRACTIONS[column.name])
        ranks.append(truth.drop("random-init").rank(ascending=False))
    for name, scores in table.rows.items():
        if "reference" in name:
            assert scores[-1].mean == "–"
        else:
            assert float(scores[-1].mean) == pytest.approx(np.mean([r[name] for r in ranks]), abs=5.1e-3)


def test_synthetic_images_are_called_so(tables):
    assert "The images of phantom-chest and phantom-fundus are synthetic." in tables["knn"].explanation


def test_markdown_has_a_cell_for_each_column_and_escapes_what_it_is_given():
    lines = as_markdown([HOSTILE]).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert rows[2] == r"| m\_1 | **−0.5** [−1 to 0] | 0.1 † |"
    assert rows[3] == "| m2 | –<sup>a</sup> | –<sup>a</sup> |"
    assert r"<br><sup>a</sup> seed 1 failed: 1 \< 2 \| #3" in lines


def test_latex_is_a_booktabs_table_with_balanced_braces(tables):
    for text in (as_latex([HOSTILE]), as_latex(list(tables.values()))):
        plain = re.sub(r"\\\\|\\[{}]", "", text)
        assert plain.count("{") == plain.count("}")
        for rule in ("toprule", "midrule", "bottomrule"):
            assert text.count(f"\\{rule}") == text.count(r"\begin{table}") == text.count(r"\end{table}")
        for tabular in re.findall(r"\\begin{tabular}{l(r+)}\n(.+?)\\end{tabular}", text, re.DOTALL):
            columns, body = tabular
            rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
            assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns)}


def test_latex_escapes_what_it_is_given():
    text = as_latex([HOSTILE])
    assert r"m\_1 & \rule{0pt}{5.6ex}\shortstack[r]{\textbf{$-$0.5}\\{\scriptsize [$-$1 to 0]}}" in text
    assert r"0.1\textsuperscript{$\dagger$}" in text
    assert r"\caption{50\% \& more\_: primary metric}" in text
    assert r"\item[a] seed 1 failed: 1 \textless{} 2 | \#3" in text
    assert r"\item All \$ of \{it\}." in text


def test_footnotes_go_on_after_z():
    assert [letter(place) for place in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]
