"""Verdicts: planted truths are found, noise is inconclusive, holes and phantoms judge nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.analysis.power import detectable_effect
from bench.analysis.reproduction.claims import ClaimEffectRow, ClaimRow, claim_tables, read_claims
from bench.analysis.reproduction.evidence import MEASURES, Effect
from bench.analysis.reproduction.ledger import ledger_table
from bench.analysis.reproduction.verdicts import (
    SMALLER,
    UNTOLD,
    Claim,
    Needed,
    compared_with_reported,
    judge,
    judge_each,
    judge_mean,
)
from bench.protocol.cell import Cell
from bench.summary.estimated_mean import EstimatedMean
from imssl.settings.labels import LabelSet
from tests.simulations.verdicts import false_verdicts

PAPER = ("moco-mse", "moco-barlow")


@pytest.fixture
def judged(protocol_of, results_of, summary_of, monkeypatch):
    """The claims of a simulated run, by claim and method; its images count as real unless said otherwise."""

    def judge(skill=lambda cell, block: 1, synthetic=(), changes=None, left_out=None, **simulated):
        protocol = protocol_of(**(changes or {}))
        results = results_of(protocol, skill, **simulated)
        if left_out:
            cells = {cell: left_out(cell) for cell in results.states if cell.stage == "reuse"}
            results = replace(results, left_out={cell: of for cell, of in cells.items() if of})
        monkeypatch.setattr("bench.analysis.reproduction.claims.synthetic_datasets", lambda *_: synthetic)
        tables = claim_tables(summary_of(protocol, results))
        assert list(tables["claims"].columns) == ClaimRow.columns()
        assert list(tables["claim_effects"].columns) == ClaimEffectRow.columns()
        judge.effects = tables["claim_effects"].set_index(["claim_id", "method"])
        return tables["claims"].set_index(["claim_id", "method"])

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


def scattered(cell):
    """CKA without each of ten patients, of four blocks and two shares; alike in all seeds."""
    deviations = np.random.default_rng(len(cell.dataset + cell.method)).normal(size=(4, 10))
    patients = np.array([f"p{i}" for i in range(10)])
    return {"patients": patients, "0.01": 0.5 + 0.01 * deviations, "1": 0.5 + 0.02 * deviations}


def by_hand(contrast):
    """The jackknife's variance of (10,) values."""
    return 9 / 10 * ((contrast - contrast.mean()) ** 2).sum()


def test_claims_on_feature_reuse_are_about_other_patients_too(judged):
    planted = lambda cell, block: 0.9 - block / 20 + cell.seed / 1000  # noqa: E731
    narrow, wide = judged(cka=planted), judged(cka=planted, left_out=scattered)
    key = ("early-blocks-change-less", "moco-mse")
    assert narrow.loc[key, "covers"].startswith(
        "seeds only (one: moco-mse: cells that were computed or packed"
    )
    assert wide.loc[key, "covers"] == "test patients and seeds"
    effects = judged.effects.loc[[key]].set_index("dataset")
    for dataset in ("one", "two"):
        cell = scattered(Cell("reuse", dataset, "moco-mse", 0))
        mean = (cell["0.01"] + cell["1"]) / 2
        patients = by_hand(mean[:2].mean(axis=0) - mean[2:].mean(axis=0))
        # All blocks rise alike with the seed, so that of the difference nothing scatters over seeds.
        half = stats.t.ppf(0.975, 9) * math.sqrt(patients)
        row = effects.loc[dataset]
        assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=1e-6)
    gain = ("more-feature-reuse", "moco-mse")
    assert wide.loc[gain, "high"] - wide.loc[gain, "low"] > narrow.loc[gain, "high"] - narrow.loc[gain, "low"]
    assert wide.loc[gain, "effect"] == narrow.loc[gain, "effect"]


def test_one_method_of_an_earlier_version_is_named(judged):
    table = judged(
        left_out=lambda cell: None if (cell.method, cell.dataset) == ("moco", "two") else scattered(cell)
    )
    covers = table.loc[("more-feature-reuse", "moco-mse"), "covers"]
    assert covers.startswith("test patients and seeds, on some data sets seeds only (two: moco: cells that")
    assert table.loc[("early-blocks-change-less", "moco-mse"), "covers"] == "test patients and seeds"


def test_the_claim_on_outputs_is_about_other_patients_too(judged):
    """Equal distances in all seeds leave the patients' part alone."""
    table = judged(better)
    row = table.loc[("lower-ks-distance", "moco-mse")]
    assert row["covers"] == "test patients and seeds"
    assert row["high"] - row["low"] > 0.01
    one = judged(better, changes={"seeds": [0]}).loc[("lower-ks-distance", "moco-mse")]
    assert one["covers"] == "test patients only"


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


@pytest.mark.parametrize(("seeds", "words"), [([0], "One seed cannot"), ([0, 1], "Two seeds show roughly")])
def test_too_few_seeds_settle_nothing(judged, seeds, words):
    table = judged(better, changes={"seeds": seeds})
    assert set(table["verdict"]) == {"inconclusive"}
    assert table["why"].str.startswith(words).all()
    assert table["why"].str.contains("three are the least").all()
    assert set(table["size"]) == {""}
    # What was measured is still shown.
    assert table["effect"].notna().all()


def test_all_verdicts_are_one_family(judged):
    table = judged(better)
    assert set(table["family"]) == {6 * 2}
    row = table.loc[("gain-with-few-labels", "moco-mse")]
    effects = judged.effects.loc[("gain-with-few-labels", "moco-mse")]
    # A single data set has an interval of its own; the mean's holds for all twelve.
    widths = effects["high"] - effects["low"]
    assert row["high"] - row["low"] > widths.mean() / math.sqrt(2)
    assert row["effect"] == pytest.approx(effects["effect"].mean())
    # A cell that is missing changes no other verdict's level.
    holed = judged(better, holes={Cell("ks", "one", "moco-mse", 0): "stale"})
    same = ["effect", "low", "high", "verdict", "family"]
    assert holed.loc[row.name, same].tolist() == table.loc[row.name, same].tolist()


def test_metrics_are_judged_on_a_common_scale(judged, results_of, protocol_of):
    """AUROC a counts as 2a - 1; kappa, CKA and KS are such already."""
    judged(better)
    gains = judged.effects.loc["gain-with-few-labels"]
    np.testing.assert_allclose(gains["effect"], 2 * gains["in_metric"])
    reuse = judged.effects.loc["more-feature-reuse"]
    np.testing.assert_allclose(reuse["effect"], reuse["in_metric"])


def test_the_size_is_held_against_the_reported_one(judged):
    table = judged(better)
    sizes = table["size"].to_dict()
    # Only one claim comes with a figure.
    assert {claim for (claim, _), size in sizes.items() if size} == {"gain-with-few-labels"}
    assert set(table.loc["gain-with-few-labels", "size"]) <= {
        "larger than reported",
        "compatible with that reported",
    }
    assert compared_with_reported(0.05, 0.01, 0.04) == "smaller than reported"
    assert compared_with_reported(0.05, 0.01, 0.06) == "compatible with that reported"
    assert compared_with_reported(0.05, 0.07, 0.08) == "larger than reported"
    assert compared_with_reported(0.05, -0.03, 0.06) == UNTOLD


def test_the_verdict_names_the_scale_of_the_run(judged):
    table = judged(better)
    assert set(table["scale"]) == {"at 32 pixels, ResNet-18 of width 16; other data: one, two"}


def test_the_ledger_has_the_aspects_that_the_scale_is_read_from(protocol_of, results_of):
    protocol = protocol_of()
    aspects = set(ledger_table(protocol, results_of(protocol, lambda *_: 1).cards)["aspect"])
    assert {"image side in pixels", "architecture", "channels of block 1", "source"} <= aspects


def test_what_a_run_could_find_does_not_depend_on_what_it_found(judged):
    table = judged(better)
    assert (table.loc["gain-with-few-labels", "detectable"] > 0).all()
    found = EstimatedMean(0.3, 0.0001, 100, ((0.0002, 4),), seeds=3, units=101)
    nothing = EstimatedMean(0.0, 0.0001, 100, ((0.0002, 4),), seeds=3, units=101)
    assert detectable_effect(found, 0.95) == detectable_effect(nothing, 0.95)


def test_false_verdicts_are_as_rare_as_promised():
    """Twelve claims without any effect: with one seed the rule `mean` reproduced 16 to 30% of each."""
    trials = 300
    assert false_verdicts(seeds=1, trials=20) == 0
    for across in (0.0, 0.9):
        wrong = false_verdicts(seeds=3, trials=trials, across=across)
        assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize(("seeds", "found"), [([0], False), ([0, 1], False), ([0, 1, 2], True)])
def test_with_too_few_seeds_nothing_can_be_found(judged, seeds, found):
    table = judged(better, changes={"seeds": seeds})
    assert table["detectable"].notna().all() == found


def test_a_hole_has_no_verdict(judged):
    hole = Cell("finetune", "two", "moco", 1, LabelSet(0.01))
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
    return EstimatedMean(effect, patient**2, 1000, ((seed**2, 1000),), seeds, units=100)


@pytest.mark.parametrize(
    ("effect", "error", "verdict"),
    [
        (0.05, 0.01, "reproduced"),
        (0.05, 0.04, "inconclusive"),
        (-0.05, 0.01, "contradicted"),
        (0.005, 0.001, SMALLER),  # surely above 0, and surely too little
        (0.005, 0.01, "inconclusive"),
        (0.0, 0.004, "contradicted"),
    ],
)
def test_rule_of_the_mean(effect, error, verdict):
    assert judge_mean(estimate(effect, error), 0.01, 0.95, 3).verdict == verdict
    assert judge_mean(estimate(effect, error, seeds=4), 0.01, 0.95, 5).verdict == "inconclusive"


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
    effects = [Effect("d", f"{i}", estimate(*cell)) for i, cell in enumerate(cells)]
    judgement = judge_each(effects, 0.01, 0.95, 3)
    assert judgement.verdict == verdict
    # Two cells: each interval is at 97.5%.
    lows = [e - stats.t.ppf(0.9875, estimate(e, s).freedom) * s for e, s in cells]
    assert judgement.low == pytest.approx(min(lows), rel=1e-6)


def test_data_sets_weigh_alike_whatever_their_metric():
    """An AUROC gain of .02 and a kappa gain of .04 are the same share of the way from chance to perfect."""
    claim = Claim(
        id="c", claim="", made_in="", reported="", measure="", measured="", rule="mean", margin=0.02
    )
    auroc = Effect("a", "", estimate(0.02, 0.001).scaled(2), scale=2.0, rows=((0.04,) * 5,))
    kappa = Effect("k", "", estimate(0.04, 0.001), rows=((0.04,) * 5,))
    assert judge(claim, [auroc], 0.95, 3).effect == judge(claim, [kappa], 0.95, 3).effect == 0.04
    assert auroc.in_metric.value == pytest.approx(0.02)


def test_what_would_settle_a_question_does_settle_it():
    open_question = estimate(0.03, patient=0.01, seed=0.03)
    assert judge_mean(open_question, 0.01, 0.95, 3).verdict == "inconclusive"
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
