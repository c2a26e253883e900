"""What the report of a small run with holes says: its numbers, and its honesty about what is missing."""

import json
import re

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from bench.protocol.cell import Cell, all_cells
from bench.report.layout import number
from bench.summary.tidy import COLUMNS
from imssl.settings.labels import LabelSet
from tests.bench.report.reading import Page, table_of, value
from tests.bench.small_run import CHEST, FUNDUS, HTML_CLASS, labels_of, probabilities_of, small_protocol


def test_results_table_has_its_columns_and_every_cell(table):
    assert list(table.columns) == list(COLUMNS)
    for cell in all_cells(small_protocol()):
        rows = table[(table["dataset"] == cell.dataset) & (table["method"] == cell.method)]
        rows = rows[(rows["seed"] == cell.seed) & (rows["evaluation"] == cell.stage)]
        assert len(rows) > 0


def test_results_table_holds_the_metrics_of_the_predictions(table):
    for cell in (
        Cell("finetune", CHEST, "moco", 0, LabelSet(0.1)),
        Cell("frozen", CHEST, "moco", 1, LabelSet(1.0)),
    ):
        aurocs = [roc_auc_score(labels_of(CHEST)[:, c], probabilities_of(cell)[:, c]) for c in (0, 1)]
        assert value(table, cell, "macro_auroc") == pytest.approx(np.mean(aurocs), rel=1e-12)
        assert value(table, cell, "auroc", **{"class": HTML_CLASS}) == pytest.approx(aurocs[0], rel=1e-12)
        assert np.isnan(value(table, cell, "auroc", **{"class": "never seen"}))
    cell = Cell("probe", FUNDUS, "random-init", 1)
    guess = probabilities_of(cell, 3).argmax(axis=1)
    kappa = cohen_kappa_score(labels_of(FUNDUS), guess, weights="quadratic")
    assert value(table, cell, "qwk", block=3) == pytest.approx(kappa, rel=1e-9)
    assert value(table, Cell("reuse", CHEST, "moco", 1), "cka_rbf", block=2, fraction=1.0) == pytest.approx(
        0.76
    )
    assert value(table, Cell("ks", FUNDUS, "moco", 1), "ks", fraction=0.1) == pytest.approx(0.7 / 3)


def test_holes_stand_in_the_table_with_their_status_and_without_values(table):
    holes = table[table["status"] != "done"]
    assert len(holes) == 4
    assert (holes["metric"] == "").all()
    assert holes["value"].isna().all()
    found = {(row.dataset, row.method, row.seed, row.evaluation): row.status for row in holes.itertuples()}
    assert found == {
        (CHEST, "moco", 1, "finetune"): "failed",
        (FUNDUS, "moco", 0, "probe"): "missing",
        (CHEST, "random-init", 1, "ks"): "stale",
        (FUNDUS, "random-init", 0, "reuse"): "damaged",
    }


def test_short_metrics_are_means_over_all_seeds_or_absent(run, table):
    short = json.loads((run / "reports" / "metrics.json").read_text())
    both = [
        value(table, Cell("finetune", CHEST, "random-init", seed, LabelSet(0.1)), "macro_auroc")
        for seed in (0, 1)
    ]
    assert short[CHEST]["random-init"]["finetune 0.1"] == pytest.approx(np.mean(both), abs=1e-6)
    probes = [value(table, Cell("probe", FUNDUS, "random-init", seed), "qwk", block=4) for seed in (0, 1)]
    assert short[FUNDUS]["random-init"]["probe block 4"] == pytest.approx(np.mean(probes), abs=1e-6)
    assert "finetune 0.1" not in short[CHEST]["moco"]
    assert "finetune 1" in short[CHEST]["moco"]
    assert not [name for name in short[FUNDUS]["moco"] if name.startswith("probe")]


def test_page_shows_means_and_names_holes(page, table):
    text = " ".join(Page(page).text)
    for method in ("random-init", "moco"):
        both = [
            value(table, Cell("finetune", CHEST, method, seed, LabelSet(1.0)), "macro_auroc")
            for seed in (0, 1)
        ]
        assert number(np.mean(both)) in text
    total = len(list(all_cells(small_protocol())))
    assert f"{total - 4} of {total} cells are done; 1 damaged, 1 failed, 1 missing, 1 stale." in text
    for words in ("1 of 2 seeds", "seed 1 failed", "seed 0 missing", "seed 1 stale", "seed 0 damaged"):
        assert words in text
    assert "the loss is <b>not</b> finite" in text
    assert "has changed since the cell was finished" in text


def test_two_seeds_mark_nothing_and_say_why(page):
    assert "<b>best</b>" not in page
    assert "<b>tied</b>" not in page
    assert "two seeds show roughly how much seeds differ; three are the least" in " ".join(Page(page).text)


def test_the_secondary_metrics_show_the_lowest_and_the_highest_seed(page, table):
    both = [
        value(table, Cell("finetune", CHEST, "moco", seed, LabelSet(1.0)), "balanced_accuracy")
        for seed in (0, 1)
    ]
    cell = f">{number(np.mean(both))}<small>{number(min(both))}–{number(max(both))}</small>"
    assert cell in page


def test_differences_to_the_baseline_are_shown_with_their_interval(page, table):
    means = [
        np.mean(
            [
                value(table, Cell("finetune", CHEST, method, seed, LabelSet(1.0)), "macro_auroc")
                for seed in (0, 1)
            ]
        )
        for method in ("random-init", "moco")
    ]
    difference = number(means[0] - means[1])
    sign = "+" if means[0] > means[1] else ""
    found = re.search(rf">{re.escape(sign + difference)}<small>([^<]*)</small></td>", page)
    low, high = (float(end.replace("−", "-")) for end in re.split(" to |–", found[1]))
    assert low < means[0] - means[1] < high


def test_an_aggregate_is_not_made_over_a_hole(page):
    rows = re.findall(r'<tr data-method="moco">.*?</tr>', table_of(page, "aggregates-finetune"), re.DOTALL)
    (row,) = rows
    # moco lacks a seed at 10% of the labels on one data set, and so at all fractions together.
    assert row.count(">incomplete<") == 2 * 3
    assert "seed 1 failed" in row


def test_claims_get_no_verdict_from_synthetic_images(page):
    verdicts = table_of(page, "claims")
    assert "no verdict" in verdicts
    assert not re.search(">(reproduced|contradicted|inconclusive)<", verdicts)


def test_page_says_what_limits_its_numbers(page):
    text = " ".join(Page(page).text)
    assert "Synthetic images." in text
    assert "say nothing about medicine" in text
    assert f"{CHEST}: no AUROC for “never seen”" in text
    assert "95% interval over test patients and 2 seeds (10 patients; 100 resamples)" in text
    assert "Two seeds show roughly how much seeds differ" in text
    assert "different versions" not in text
