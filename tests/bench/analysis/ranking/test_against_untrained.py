"""Better than no pretraining, against plain formulas: the reference is chosen on validation images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.analysis.analyse import analyse
from bench.analysis.document import ResultsDocument, results_document
from bench.analysis.ranking.against_untrained import STRONGER, score_differences, untrained_differences
from bench.protocol.cell import Cell
from bench.report.tables.comparisons import Scope, untrained_table
from bench.report.view import view_of
from bench.studies.paper import _references
from bench.summary.draws import Comparison
from imssl.settings.labels import LabelSet
from tests.bench.made_up_results import PLACE, settings_of

UNTRAINED = ["m0", "m1"]
METHODS = ["m0", "m1", "m2", "m3"]
OTHER = Comparison("e", "finetune", LabelSet(1.0), None)
# On the test images m1 is the higher of the two in both columns; validation says so of the second alone.
VALIDATION = {(PLACE, "m0"): 0.8, (PLACE, "m1"): 0.7, (OTHER, "m0"): 0.6, (OTHER, "m1"): 0.7}


@pytest.fixture
def columns(plain_column):
    generator = np.random.default_rng(0)

    def make(place, seeds=3):
        values = np.array([0.6, 0.7, 0.9, 0.65])[:, None] + generator.normal(0, 0.01, (4, seeds))
        return plain_column(values, values[..., None] + generator.normal(0, 0.01, (4, seeds, 50)), place)

    return lambda seeds=3: [make(PLACE, seeds), make(OTHER, seeds)]


def by_hand(column, method, reference):
    """Effect and p: Welch over seeds and patients, with Satterthwaite's degrees of freedom."""
    rows = [column.values[int(name[1:])] for name in (method, reference)]
    patients = [column.draws[int(name[1:])].mean(axis=0) for name in (method, reference)]
    variances = [row.var(ddof=1) / row.size for row in rows]
    variances.append((patients[0] - patients[1]).var(ddof=1))
    freedoms = [rows[0].size - 1, rows[1].size - 1, column.units - 1]
    total = sum(variances)
    # The seeds' parts are joined first, then the patients'.
    seeds = sum(variances[:2])
    of_seeds = seeds**2 / sum(v**2 / f for v, f in zip(variances[:2], freedoms[:2], strict=True))
    freedom = total**2 / (seeds**2 / of_seeds + variances[2] ** 2 / freedoms[2])
    effect = rows[0].mean() - rows[1].mean()
    return effect, 2 * stats.t.sf(abs(effect) / np.sqrt(total), freedom)


def test_it_is_said_against_the_reference_that_validation_tells(columns):
    made = columns()
    table = untrained_differences(made, METHODS, settings_of("m2"), UNTRAINED, [], VALIDATION)
    assert table[["dataset", "method", "baseline"]].to_numpy().tolist() == [
        ["d", "m2", "m0"], ["d", "m3", "m0"], ["e", "m2", "m1"], ["e", "m3", "m1"],
    ]  # fmt: skip
    for row, column in zip(table.itertuples(), np.repeat(np.array(made, dtype=object), 2), strict=True):
        effect, p = by_hand(column, row.method, row.baseline)
        assert (row.effect, row.p) == (pytest.approx(effect), pytest.approx(p))
    # m3 lies between the two references.
    assert table["effect"].gt(0).tolist() == [True, True, True, False]
    assert table["distinguishable"].tolist()[::2] == [True, True]


def test_too_few_seeds_and_unknown_references_say_nothing(columns):
    few = untrained_differences(columns(2), METHODS, settings_of("m2"), UNTRAINED, [], VALIDATION)
    assert few["p"].isna().all()
    assert not few["distinguishable"].any()
    unknown = untrained_differences(columns(), METHODS, settings_of("m2"), UNTRAINED, [], {})
    assert unknown["effect"].isna().all()
    assert unknown["reason"].str.contains("no validation results by which the stronger of m0, m1").all()
    assert untrained_differences(columns(), METHODS, settings_of("m2"), [], [], {}).empty


def test_mean_scores_are_compared_with_the_stronger_of_each_column(columns):
    made = columns()
    table = score_differences(made, METHODS, settings_of("m2"), UNTRAINED, [], VALIDATION)
    assert table[["method", "baseline"]].to_numpy().tolist() == [["m2", STRONGER], ["m3", STRONGER]]
    scores = [2 * column.values.mean(axis=1) - 1 for column in made]  # AUROC: 0 at chance
    stronger = np.mean([scores[0][0], scores[1][1]])
    for row, place in zip(table.itertuples(), (2, 3), strict=True):
        assert row.effect == pytest.approx(np.mean([of_column[place] for of_column in scores]) - stronger)
    # A trained reference is compared with as it is, and is not among the tested.
    trained = score_differences(made, METHODS, settings_of("m2"), ["m0"], ["m1"], {})
    assert trained[["method", "baseline"]].to_numpy().tolist() == [
        ["m2", STRONGER], ["m3", STRONGER], ["m2", "m1"], ["m3", "m1"],
    ]  # fmt: skip


@pytest.fixture
def run(protocol_of, results_of, summary_of):
    """Two untrained references, of which validation tells the one that is weaker on the test images."""

    def make(seeds):
        skills = {"random-init": 1.5, "random-init-filled": 0.3, "moco": 3.0, "moco-mse": 0.2}
        protocol = protocol_of(datasets=["one"], methods=list(skills), seeds=range(seeds))
        results = results_of(protocol, lambda cell, _: skills[cell.method])
        validation = {
            Cell(stage, "one", method, seed, labels): value
            for stage in ("finetune", "frozen", "knn")
            for method, value in (("random-init", 0.5), ("random-init-filled", 0.6))
            for seed in protocol.seeds
            for labels in protocol.label_sets
        }
        summary = summary_of(protocol, replace(results, validation=validation))
        return view_of(summary, analyse(summary))

    return make


def test_page_document_and_study_say_it(run):
    made = run(3)
    table = untrained_table(Scope(made, ("one",), ""), "frozen")
    assert [row.label for row in table.rows] == ["moco", "moco-mse"]
    assert [column.small.rsplit(", ")[-1] for column in table.columns] == ["minus random-init-filled"] * 2
    assert {entry.mark for entry in table.rows[0].entries} == {"better"}
    assert "chosen on validation images" in table.note
    document = results_document(made.summary, made.analysis)
    rows = [row for row in document.untrained_differences if row.evaluation == "frozen"]
    assert {row.baseline for row in rows} == {"random-init-filled"}
    # Probes have no validation results here.
    assert [bool(row.reason) for row in document.score_differences] == [False] * 6 + [True] * 2
    older = document.model_dump(mode="json", by_alias=True)
    del older["untrained_differences"], older["score_differences"]
    assert ResultsDocument.model_validate(older).untrained_differences == []
    study = _references(made, None)
    *columns, overall = study.splitlines()[2:]
    assert len(columns) == 2
    assert all("| random-init-filled | " in row and row.endswith("| better |") for row in columns)
    effects = {(row.evaluation, row.method): row.effect for row in document.score_differences}
    effect = effects["frozen", "moco"]
    assert overall.startswith(f"| all together | mean score | that of each column | +{effect:.3f} [")
    assert overall.endswith("| better |")


def test_the_study_says_nothing_of_one_seed(run):
    study = _references(run(1), None)
    assert study.count("| too few seeds to tell |") == 3  # two label sets, and both together
    assert "| better |" not in study
