"""Verdicts: planted truths are found, noise is inconclusive, holes and phantoms judge nothing."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.analysis.claims import CLAIMS, Needed, claim_table, judge_each, judge_mean, read_claims
from bench.analysis.evidence import MEASURES, Effect
from bench.protocol.cell import Cell
from bench.summary.paired_effect import PairedEffect

PAPER = ("moco-mse", "moco-barlow")


@pytest.fixture
def judged(protocol_of, results_of, summary_of, monkeypatch):
    """The claims of a simulated run, by claim and method; its images count as real unless said otherwise."""

    def judge(skill=lambda cell, block: 1, synthetic=(), changes=None, **simulated):
        protocol = protocol_of(**(changes or {}))
        results = results_of(protocol, skill, **simulated)
        monkeypatch.setattr("bench.analysis.claims.synthetic_datasets", lambda *_: synthetic)
        table = claim_table(summary_of(protocol, results))
        assert list(table.columns) == list(CLAIMS)
        return table.set_index(["claim_id", "method"])

    return judge


def better(cell, block=None):
    return 3.0 if cell.method in PAPER else 0.7


def worse(cell, block=None):
    return 0.3 if cell.method in PAPER else 3.0


def test_the_claims_are_six_and_every_measure_exists():
    claims = read_claims()
    assert len(claims) == 6
    assert {claim.measure for claim in claims} == set(MEASURES)


def test_planted_gains_are_reproduced(judged):
    table = judged(
        better,
        cka=lambda cell, block: (0.9 if cell.method in PAPER else 0.6) - block / 20 + cell.seed / 1000,
        ks=lambda cell: (0.1 if cell.method in PAPER else 0.3) + cell.seed / 1000,
    )
    assert (table["verdict"] == "reproduced").all(), table["why"].tolist()
    # Blocks 1 and 2 against 3 and 4: two blocks apart, each a twentieth.
    early = table.loc["early-blocks-change-less"]
    np.testing.assert_allclose(early["effect"], 0.1, atol=1e-12)
    np.testing.assert_allclose(table.loc["more-feature-reuse"]["effect"], 0.3, atol=1e-12)
    np.testing.assert_allclose(table.loc["lower-ks-distance"]["effect"], 0.2, atol=1e-12)


def test_planted_losses_are_contradicted(judged):
    table = judged(
        worse,
        cka=lambda cell, block: (0.3 if cell.method in PAPER else 0.6) + block / 20 + cell.seed / 1000,
        ks=lambda cell: (0.3 if cell.method in PAPER else 0.1) + cell.seed / 1000,
    )
    assert (table["verdict"] == "contradicted").all(), table["why"].tolist()
    assert table.loc[("never-clearly-worse", "moco-mse"), "where"]


def test_noise_is_inconclusive_and_says_what_would_settle_it(judged):
    generator = np.random.default_rng(0)
    noise = {}
    draw = lambda cell, block=0: noise.setdefault((cell, block), generator.normal())  # noqa: E731
    table = judged(
        lambda cell, block: 1 + draw(cell, block),
        cka=lambda cell, block: 0.5 + draw(cell, block) / 3,
        ks=lambda cell: 0.2 + draw(cell) / 10,
    )
    settled = table["verdict"].isin(["reproduced", "contradicted"]).sum()
    assert settled <= 1
    open_rows = table[table["verdict"] == "inconclusive"]
    assert open_rows["why"].str.contains("would settle it").all()
    assert (open_rows["seeds_needed"].dropna() > 3).all()


def test_synthetic_images_never_yield_a_verdict(judged):
    table = judged(better, synthetic=("one", "two"))
    assert set(table["verdict"]) == {"none"}
    assert table["why"].str.contains("synthetic").all()
    # What was measured is still shown.
    assert table["effect"].notna().all()
    assert table["seeds_needed"].isna().all()


def test_real_data_sets_are_judged_without_the_synthetic_ones(judged):
    skill = lambda cell, block: better(cell) if cell.dataset == "one" else worse(cell)  # noqa: E731
    gain = ("gain-with-few-labels", "moco-mse")
    assert judged(skill, synthetic=("two",)).loc[gain, ["verdict", "judged_on"]].tolist() == [
        "reproduced",
        "one",
    ]
    assert judged(skill).loc[gain, "judged_on"] == "one, two"
    assert judged(skill).loc[gain, "verdict"] != "reproduced"


def test_one_seed_leaves_what_seeds_alone_can_show_open(judged):
    table = judged(better, changes={"seeds": [0]})
    for claim in ("early-blocks-change-less", "more-feature-reuse", "lower-ks-distance"):
        assert set(table.loc[claim]["verdict"]) == {"inconclusive"}
        assert table.loc[claim]["why"].str.startswith("One seed").all()
    assert set(table.loc["gain-with-few-labels"]["verdict"]) == {"reproduced"}


def test_a_hole_has_no_verdict(judged):
    hole = Cell("finetune", "two", "moco", 1, 0.01)
    table = judged(better, holes={hole: "failed", Cell("ks", "one", "moco-mse", 0): "stale"})
    for claim in ("gain-with-few-labels", "never-clearly-worse"):
        assert set(table.loc[claim]["verdict"]) == {"none"}
        assert table.loc[claim]["why"].str.contains("two: moco: seed 1 failed").all()
        assert table.loc[claim]["effect"].isna().all()
    assert table.loc[("lower-ks-distance", "moco-mse"), "verdict"] == "none"
    assert table.loc[("lower-ks-distance", "moco-barlow"), "verdict"] != "none"


def test_without_the_papers_methods_or_moco_there_is_a_row_that_says_so(judged):
    table = judged(changes={"methods": ["random-init", "moco"]})
    assert len(table) == 6
    assert table["why"].str.contains("none of the paper's methods").all()
    table = judged(changes={"methods": ["random-init", "moco-mse"]})
    assert table["why"].str.contains("no moco to compare with").all()
    table = judged(changes={"label_fractions": [1.0]})
    assert table.loc[("gain-with-few-labels", "moco-mse"), "verdict"] == "none"


def estimate(effect, patient=0.0, seed=0.0, seeds=5):
    return PairedEffect(effect, patient**2, 1000, seed**2, 1000, seeds, units=100)


@pytest.mark.parametrize(
    ("effect", "error", "verdict"),
    [
        (0.05, 0.01, "reproduced"),
        (0.05, 0.04, "inconclusive"),
        (-0.05, 0.01, "contradicted"),
        (0.005, 0.001, "contradicted"),  # surely above 0, and surely too little
        (0.005, 0.01, "inconclusive"),
        (0.0, 0.004, "contradicted"),
    ],
)
def test_rule_of_the_mean(effect, error, verdict):
    assert judge_mean(estimate(effect, error), 0.01, 0.95).verdict == verdict


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([(0.0, 0.001), (0.05, 0.02)], "reproduced"),
        ([(0.0, 0.001), (-0.005, 0.0001)], "reproduced"),  # worse, and surely by less than the margin
        ([(0.0, 0.001), (-0.05, 0.01)], "contradicted"),
        ([(0.0, 0.001), (-0.05, 0.05)], "inconclusive"),
        ([(0.0, 0.01), (0.0, 0.01)], "inconclusive"),
    ],
)
def test_rule_of_each_cell(cells, verdict):
    effects = [Effect("d", f"{i}", estimate(*cell), "") for i, cell in enumerate(cells)]
    judgement = judge_each(effects, 0.01, 0.95)
    assert judgement.verdict == verdict
    # Two cells: each interval is at 97.5%.
    lows = [e - stats.t.ppf(0.9875, estimate(e, s).freedom) * s for e, s in cells]
    assert judgement.low == pytest.approx(min(lows), rel=1e-6)


def test_what_would_settle_a_question_does_settle_it():
    open_question = estimate(0.03, patient=0.01, seed=0.03)
    assert judge_mean(open_question, 0.01, 0.95).verdict == "inconclusive"
    needed = Needed.of(open_question, 0.03, 0.95)
    half = lambda patient, seed: 1.96 * math.hypot(patient, seed)  # noqa: E731
    for seeds, settled in ((needed.seeds, True), (needed.seeds - 1, False)):
        assert (half(0.01, 0.03 * math.sqrt(5 / seeds)) <= 0.0300001) is settled
    # The seeds' error alone is too large: no test set is big enough.
    assert math.isnan(needed.tests)
    by_tests = Needed.of(estimate(0.03, patient=0.02, seed=0.001), 0.03, 0.95)
    assert half(0.02 / math.sqrt(by_tests.tests), 0.001) == pytest.approx(0.03, rel=1e-3)
    neither = Needed.of(estimate(0.001, patient=0.02, seed=0.02), 0.001, 0.95)
    assert (neither.seeds, math.isnan(neither.tests)) == (None, True)
    assert "times the seeds and the test patients" in neither.sentence
    assert "border" in Needed.of(estimate(0.0), 0.0, 0.95).sentence
