"""`bench verify` recomputes the numbers of subgroups, and names those that do not follow."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from bench.analysis.analyse import analyse
from bench.analysis.document import results_document, write_document
from bench.cells.files import cell_path
from bench.report.leaderboard import DOCUMENT
from bench.trust.verify import subgroups
from bench.trust.verify.subgroups import check_subgroups
from imssl.subgroups import subgroups_of
from tests.bench.made_up_results import (  # noqa: F401 (pytest finds fixtures by their name here)
    SAMPLES,
    protocol_of_fixture,
    results_of_fixture,
    summary_of_fixture,
)


@pytest.fixture
def summary(protocol_of, results_of, summary_of, monkeypatch):
    """A made-up run with attributes and its results.json; its predictions are in memory."""
    protocol = protocol_of(datasets=["one"], methods=["random-init", "moco"], seeds=[0, 1, 2])
    results = results_of(protocol, lambda cell, block: 1.0)
    ages = np.random.default_rng(3).integers(20, 90, size=SAMPLES)
    table = pd.DataFrame(
        {"sex": np.where(np.arange(SAMPLES) % 3, "F", "M"), "age": [f"{age:03d}Y" for age in ages]},
        index=[f"i{i}" for i in range(SAMPLES)],
    )
    made = summary_of(protocol, dataclasses.replace(results, attributes={"one": table}))
    write_document(DOCUMENT, results_document(made, analyse(made)))
    stored = {cell_path(cell): run for (cell, block), run in results.predictions.items() if block is None}
    monkeypatch.setattr(subgroups, "read_card", lambda folder: results.cards["one"])
    monkeypatch.setattr(subgroups, "read_predictions", lambda file, card: stored[file.parent])
    monkeypatch.setattr(subgroups, "_attribute_of", lambda card, name: table[name].to_dict())
    return made


def test_what_the_report_says_follows_from_the_predictions(summary):
    check = check_subgroups(summary.protocol, list(summary.results.states))
    assert check.disagreements == []
    # Two methods in three evaluations: 2 + 4 subgroups with three figures, and two gaps.
    assert check.compared == 2 * 3 * (6 * 3 + 2)


def test_every_file_is_read_once(summary, monkeypatch):
    read, stored = [], subgroups.read_predictions

    def noted(file, card):
        read.append(file)
        return stored(file, card)

    monkeypatch.setattr(subgroups, "read_predictions", noted)
    check_subgroups(summary.protocol, list(summary.results.states))
    assert len(read) == len(set(read)) == 2 * 3 * 3  # methods, evaluations, seeds


@pytest.mark.parametrize(("part", "column"), [("subgroups", "value"), ("subgroup_gaps", "gap")])
def test_an_edited_number_is_named(summary, part, column):
    content = json.loads(DOCUMENT.read_text())
    row = next(row for row in content[part] if row["attribute"] == "age")
    row[column] += 0.01
    DOCUMENT.write_text(json.dumps(content))
    check = check_subgroups(summary.protocol, list(summary.results.states))
    (wrong,) = check.disagreements
    assert f"{row['dataset']} {row['evaluation']} {row['method']} age" in wrong.where


@pytest.mark.parametrize("seed", range(5))
def test_both_ways_of_dividing_agree(seed):
    generator = np.random.default_rng(seed)
    kinds = [
        [f"{value:g}" for value in generator.normal(size=40).round(1)],
        [f"{age:03d}{unit}" for age, unit in zip(generator.integers(99, size=40), "YYYM" * 10, strict=True)],
        [str(code) for code in generator.integers(4, size=40)],
        list(generator.choice(["PA", "AP", "", "12"], size=40)),
    ]
    for values in kinds:
        texts = [text if generator.random() < 0.9 else "" for text in values]
        names = subgroups._subgroup_names("age", texts)
        groups = {group.name: group.rows.tolist() for group in subgroups_of("age", texts)}
        assert {name: [i for i, own in enumerate(names) if own == name] for name in set(names)} == groups
