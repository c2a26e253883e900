"""What the charts show, and that they say it in words as well."""

import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import vl_convert
from scipy.stats import ks_2samp

from bench.protocol.cell import Cell
from bench.report.charts.curve_charts import curve_chart
from bench.report.charts.vega import BUNDLES, chart_script
from bench.report.layout import number, percent
from bench.report.material.output_distributions import outputs_of
from bench.report.view import drawn_methods
from bench.summary.read import read_results
from bench.summary.summary import Summary, summarise
from imssl.settings.labels import LabelSet
from tests.bench.report.reading import charts_of, table_of, value
from tests.bench.small_run import CHEST, FUNDUS, card, probabilities_of, small_protocol


def test_every_chart_has_a_text_alternative_and_draws_what_it_holds(page):
    figures = charts_of(page)
    # For each data set: label efficiency, probe, CKA, KS, distributions, two curves and cost.
    assert len(figures) == 2 * 8
    for name, (words, spec) in figures.items():
        assert CHEST in words or FUNDUS in words, name
        assert spec["data"]["values"], name
        # As strict about fields, marks and types as the page's script, which cannot be asked here.
        assert "<path" in vl_convert.vegalite_to_svg(spec), name


def test_a_mark_says_its_numbers_and_has_the_colour_of_its_method(run, page, table):
    both = [value(table, Cell("probe", CHEST, "moco", seed), "macro_auroc", block=2) for seed in (0, 1)]
    _, spec = charts_of(page)[f"probe-{CHEST}"]
    (record,) = [own for own in spec["data"]["values"] if own["method"] == "moco" and own["block"] == 2]
    assert record["says"].startswith(f"moco, block 2: {number(np.mean(both))} [")
    assert record["mean"] == pytest.approx(np.mean(both), abs=1e-5)
    points = spec["layer"][-1]["encoding"]
    assert points["tooltip"]["field"] == "says"
    place = list(small_protocol().methods).index("moco")
    colours = dict(zip(points["color"]["scale"]["domain"], points["color"]["scale"]["range"], strict=True))
    assert colours["moco"] == f"var(--c{place})"
    assert f'<svg class="swatch c{place}"' in (run / "reports" / "methods" / "moco.html").read_text()


def test_cost_is_what_processors_worked_and_not_what_the_clock_said(run, page):
    words, spec = charts_of(page)[f"cost-{FUNDUS}"]
    # Two seeds: 4 and 5 seconds of work, and 2.5 and 3.5 by the clock.
    assert [record["seconds"] for record in spec["data"]["values"]] == [4.5, 4.5]
    assert spec["layer"][0]["encoding"]["x"]["title"] == "CPU seconds of pretraining, one seed"
    assert "against CPU seconds of pretraining" in words
    assert "moco, 4.5 CPU s: " in words
    costs = table_of(page, f"t-cost-{FUNDUS}")
    assert ">4.5<small>of the CPU</small>" in costs
    assert "by the clock" in costs


def test_a_row_that_does_not_pretrain_lacks_no_loss(run, monkeypatch):
    monkeypatch.chdir(run)
    summary = summarise(small_protocol(), read_results(small_protocol()))
    monkeypatch.setattr(Summary, "curve", lambda *_: {"moco": {1: 0.5, 2: 0.4}})
    notes = [
        curve_chart(summary, CHEST, quantity, quantity, ["random-init", "moco"]).note
        for quantity in ("loss", "knn_macro_auroc")
    ]
    assert notes == ["", "Not drawn, for want of values from every seed: random-init."]


@pytest.mark.skipif(version("vl-convert-python") not in BUNDLES, reason="of this bundler nothing is kept")
def test_the_script_that_draws_is_kept_and_bundled_again_where_it_is_damaged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = chart_script.__wrapped__()
    assert "window.vegaEmbed=" in script
    assert "</script" not in script
    (file,) = Path(".bench/scripts").iterdir()
    kept = file.read_bytes()
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: "another")
    assert chart_script.__wrapped__() == script
    file.write_bytes(kept[:-1])
    assert chart_script.__wrapped__() == "another"


def test_the_distributions_are_those_of_the_predictions_and_their_gap_is_the_ks_distance(
    run, page, monkeypatch
):
    monkeypatch.chdir(run)
    summary = summarise(small_protocol(), read_results(small_protocol()))
    found = outputs_of(summary, CHEST, ["random-init", "moco"])
    assert [own.method for own in found] == ["random-init", "moco"]
    for own in found:
        column = card(CHEST).classes.index(own.class_name)
        few, every = (
            probabilities_of(Cell("finetune", CHEST, own.method, 0, LabelSet(share)))[:, column]
            for share in (0.1, 1.0)
        )
        assert own.distance == pytest.approx(ks_2samp(few, every).statistic, abs=1e-12)
        row = re.search(
            rf'<tr data-method="{own.method}">.*?</tr>', table_of(page, f"t-outputs-{CHEST}"), re.DOTALL
        )
        half = [percent(round(float(np.mean(values <= 0.5)), 3)) for values in (few, every)]
        assert f">{half[0]}<small>with all {half[1]}</small>" in row[0]
        assert f">{number(own.distance)}<" in row[0]
        for p, share in own.few[1:-1]:
            assert share == pytest.approx(np.mean(few <= p + 5e-5), abs=0.051)
        assert (own.at, own.low) in own.few or (own.at, own.low) in own.every


def test_charts_of_many_methods_show_the_baseline_and_the_best():
    methods = [f"m{i}" for i in range(20)]
    order = methods[::-1]
    assert drawn_methods(methods, ["m0"], order) == ["m0", *methods[13:]]
    assert drawn_methods(methods, ["m0", "m1"], order) == ["m0", "m1", *methods[14:]]
    assert drawn_methods(methods[:8], ["m0"], order) == methods[:8]
