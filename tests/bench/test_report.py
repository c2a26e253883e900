"""The report from a small run with holes: its numbers, its honesty, and that the page needs nothing else."""

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import ks_2samp
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from bench.cells import Cell, Keys, all_cells
from bench.protocol import read_protocol
from bench.report.encodings import drawn_methods
from bench.report.layout import COLOURS, DARK_COLOURS, listed, method_styles, number, percent
from bench.report.leaderboard import write_reports
from bench.report.outputs import outputs_of
from bench.report.read import read_results
from bench.report.samples import sample_strip
from bench.report.summary import summarise
from bench.report.tidy import COLUMNS
from bench.results import (
    CELL_FILE,
    METRICS_FILE,
    data_folder,
    read_record,
    stage_folder,
    write_json,
    write_text,
)
from bench.store import file_checksums
from imssl.datasets.prepared import read_prepared
from tests.bench.small_run import (
    CHEST,
    FUNDUS,
    HTML_CLASS,
    card,
    labels_of,
    probabilities_of,
    small_protocol,
    write_cell,
)

PAGES = (
    "leaderboard.html",
    "methods/moco.html",
    "methods/random-init.html",
    f"datasets/{CHEST}.html",
    f"datasets/{FUNDUS}.html",
)


@pytest.fixture
def copy(run, tmp_path, monkeypatch):
    """A copy of the run to change, as the current folder."""
    shutil.copytree(run, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")


@pytest.fixture(scope="module")
def table(run):
    return pd.read_csv(run / "reports" / "results.csv", dtype={"class": str}).fillna(
        {"class": "", "metric": ""}
    )


def table_of(page, name):
    return re.search(rf'<table id="{name}".*?</table>', page, re.DOTALL).group()


@pytest.fixture(scope="module")
def page(run):
    return (run / "reports" / "leaderboard.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """Text and attributes of a page, without its scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.text, self.attributes, self.scripts, self._in = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self._in = tag
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag == "script":
            self.scripts.append((dict(attributes).get("type"), ""))

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif self._in != "style":
            self.text.append(data)


def value(table, cell, metric, **where):
    rows = table[
        (table["dataset"] == cell.dataset) & (table["method"] == cell.method) & (table["seed"] == cell.seed)
    ]
    evaluation = "frozen" if cell.mode == "frozen" else cell.stage
    where = {"evaluation": evaluation, "class": "", "metric": metric, **where}
    if cell.fraction is not None:
        where["fraction"] = cell.fraction
    for name, wanted in where.items():
        rows = rows[rows[name] == wanted]
    assert len(rows) == 1
    return rows["value"].item()


def test_results_table_has_its_columns_and_every_cell(table):
    assert list(table.columns) == list(COLUMNS)
    for cell in all_cells(small_protocol()):
        rows = table[(table["dataset"] == cell.dataset) & (table["method"] == cell.method)]
        rows = rows[(rows["seed"] == cell.seed) & rows["evaluation"].isin([cell.stage, cell.mode])]
        assert len(rows) > 0


def test_results_table_holds_the_metrics_of_the_predictions(table):
    for cell in (
        Cell("finetune", CHEST, "moco", 0, 0.1, "full"),
        Cell("finetune", CHEST, "moco", 1, 1.0, "frozen"),
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
        value(table, Cell("finetune", CHEST, "random-init", seed, 0.1, "full"), "macro_auroc")
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
            value(table, Cell("finetune", CHEST, method, seed, 1.0, "full"), "macro_auroc") for seed in (0, 1)
        ]
        assert number(np.mean(both)) in text
    total = len(list(all_cells(small_protocol())))
    assert f"{total - 4} of {total} cells are done; 1 damaged, 1 failed, 1 missing, 1 stale." in text
    for words in ("1 of 2 seeds", "seed 1 failed", "seed 0 missing", "seed 1 stale", "seed 0 damaged"):
        assert words in text
    assert "the loss is <b>not</b> finite" in text
    assert "has changed since the cell was finished" in text


def test_the_best_mean_of_each_column_is_marked_in_words(page, table):
    means = {
        method: np.mean(
            [
                value(table, Cell("finetune", CHEST, method, seed, 1.0, "full"), "macro_auroc")
                for seed in (0, 1)
            ]
        )
        for method in ("random-init", "moco")
    }
    best, other = max(means.values()), min(means.values())
    assert re.search(rf"<b>best</b> <span>{number(best)}<", page)
    assert not re.search(rf"<b>best</b> <span>{number(other)}<", page)


def test_the_secondary_metrics_show_the_lowest_and_the_highest_seed(page, table):
    both = [
        value(table, Cell("finetune", CHEST, "moco", seed, 1.0, "full"), "balanced_accuracy")
        for seed in (0, 1)
    ]
    cell = f"<span>{number(np.mean(both))}</span><small>{number(min(both))}–{number(max(both))}</small>"
    assert cell in page


def test_differences_to_the_baseline_are_shown_with_interval_and_p(page, table):
    means = [
        np.mean(
            [
                value(table, Cell("finetune", CHEST, method, seed, 1.0, "full"), "macro_auroc")
                for seed in (0, 1)
            ]
        )
        for method in ("random-init", "moco")
    ]
    difference = number(means[0] - means[1])
    sign = "+" if means[0] > means[1] else ""
    found = re.search(
        rf"<span>{re.escape(sign + difference)}</span><small>([^<]*)</small><small>p [=&]", page
    )
    low, high = (float(end.replace("−", "-")) for end in re.split(" to |–", found[1]))
    assert low < means[0] - means[1] < high


def test_an_aggregate_is_not_made_over_a_hole(page):
    rows = re.findall(r'<tr data-method="moco">.*?</tr>', table_of(page, "aggregates-finetune"), re.DOTALL)
    (row,) = rows
    # moco lacks a seed at 10% of the labels on one data set, and so at all fractions together.
    assert row.count("<span>incomplete</span>") == 2 * 3
    assert "seed 1 failed" in row


def test_claims_get_no_verdict_from_synthetic_images(page):
    verdicts = table_of(page, "claims")
    assert "no verdict" in verdicts
    assert not re.search("<span>(reproduced|contradicted|inconclusive)</span>", verdicts)


def test_page_says_what_limits_its_numbers(page):
    text = " ".join(Page(page).text)
    assert "Synthetic images." in text
    assert "say nothing about medicine" in text
    assert f"{CHEST}: no AUROC for “never seen”" in text
    assert "95% bootstrap interval over the test patients (10 patients)" in text
    assert "One seed only" not in text
    assert "different versions" not in text


def test_text_from_data_is_escaped_everywhere(page):
    parsed = Page(page)
    assert any(HTML_CLASS in text for text in parsed.text)
    assert HTML_CLASS not in page
    assert [kind for kind, _ in parsed.scripts] == ["application/json", "module"]


@pytest.mark.parametrize("name", PAGES)
def test_every_page_escapes_the_text_of_data(run, name):
    page = (run / "reports" / name).read_text(encoding="utf-8")
    assert HTML_CLASS not in page
    assert "the loss is <b>" not in page
    assert len(Page(page).scripts) == 2


@pytest.mark.parametrize("name", PAGES)
def test_pages_ask_the_network_for_nothing(run, name):
    file = run / "reports" / name
    page = file.read_text(encoding="utf-8")
    parsed = Page(page)
    for tag, name, address in parsed.attributes:
        assert name not in ("srcset", "action", "data", "poster", "style")
        assert name != "src" or address.startswith("data:image/png;base64,")
        assert not name.startswith("on")
        if name == "href" and not address.startswith("#"):
            assert (file.parent / address).is_file(), f"{tag} {address}"
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    assert "@import" not in style
    assert "url(" not in style
    (policy,) = [
        content for tag, name, content in parsed.attributes if tag == "meta" and "default-src" in str(content)
    ]
    (script,) = [text for kind, text in parsed.scripts if kind == "module"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}';")
    assert "unsafe" not in policy
    assert len(page.encode()) < 3_000_000


def test_links_on_the_page_have_their_targets(page):
    attributes = Page(page).attributes
    targets = [value for _, name, value in attributes if name == "id"]
    assert len(targets) == len(set(targets))
    assert {value[1:] for _, name, value in attributes if name == "href" and value[0] == "#"} <= set(targets)
    described = [value for _, name, value in attributes if name == "aria-labelledby"]
    assert set(described) <= set(targets)


def test_charts_are_drawn_and_have_a_text_alternative(page):
    pattern = r'<figure id="([^"]*)">.*?<div class="chart" role="img" aria-label="([^"]*)">(<svg.*?</svg>)'
    figures = re.findall(pattern, page, re.DOTALL)
    # For each data set: label efficiency, probe, CKA, KS, distributions, two curves and cost.
    assert len(figures) == 2 * 8
    for name, words, svg in figures:
        assert CHEST in words or FUNDUS in words, name
        assert "<path" in svg
        assert not re.search(r' (id|style|class|href|on\w+)="', svg)
        ElementTree.fromstring(svg)


def test_a_mark_says_its_numbers_and_has_the_colour_of_its_method(run, page, table):
    both = [value(table, Cell("probe", CHEST, "moco", seed), "macro_auroc", block=2) for seed in (0, 1)]
    (svg,) = re.findall(rf'<figure id="probe-{CHEST}">.*?(<svg.*?</svg>)', page, re.DOTALL)
    marks = ElementTree.fromstring(svg).iter("path")
    said = {mark.find("title").text: mark.get("fill") for mark in marks if mark.find("title") is not None}
    (words,) = [words for words in said if words.startswith("moco, block 2: ")]
    assert words.startswith(f"moco, block 2: {number(np.mean(both))} [")
    place = list(small_protocol().methods).index("moco")
    assert said[words] == f"var(--c{place})"
    assert f'<svg class="swatch c{place}"' in (run / "reports" / "methods" / "moco.html").read_text()


def test_the_distributions_are_those_of_the_predictions_and_their_gap_is_the_ks_distance(run, monkeypatch):
    monkeypatch.chdir(run)
    summary = summarise(small_protocol(), read_results(small_protocol()))
    found = outputs_of(summary, CHEST, ["random-init", "moco"])
    assert [own.method for own in found] == ["random-init", "moco"]
    for own in found:
        column = card(CHEST).classes.index(own.class_name)
        few, every = (
            probabilities_of(Cell("finetune", CHEST, own.method, 0, share, "full"))[:, column]
            for share in (0.1, 1.0)
        )
        assert own.distance == pytest.approx(ks_2samp(few, every).statistic, abs=1e-12)
        for p, share in own.few[1:-1]:
            assert share == pytest.approx(np.mean(few <= p + 5e-5), abs=0.051)
        assert (own.at, own.low) in own.few or (own.at, own.low) in own.every


def test_details_of_a_cell_name_its_runs_and_where_they_come_from(page):
    (details,) = [json.loads(text) for kind, text in Page(page).scripts if kind == "application/json"]
    runs = details["cells"]["finetune"][CHEST]["moco"]["0.1"]
    assert [run[0] for run in runs] == [0, 1]
    assert runs[1][1] == "failed: the loss is <b>not</b> finite"
    seed, status, started, seconds, origin, key = runs[0]
    assert (seed, status, started, seconds) == (0, "done", "2026-01-02T03:04:05+00:00", 1.5)
    assert details["origins"][origin]["revision"] == "0123456789abcdef"
    assert len(key) == 16
    assert details["cells"]["probe"][FUNDUS]["moco"][""][0] == [0, "missing: not computed yet"]
    assert ["temperature", "0.1"] in details["methods"]["moco"]
    assert ["Source", "a source"] in details["datasets"][CHEST]


def test_keys_in_the_details_begin_those_of_the_cells(run, page, monkeypatch):
    monkeypatch.chdir(run)
    (details,) = [json.loads(text) for kind, text in Page(page).scripts if kind == "application/json"]
    cell = Cell("finetune", CHEST, "moco", 0, 0.1, "full")
    assert (
        Keys(small_protocol()).key(cell).startswith(details["cells"]["finetune"][CHEST]["moco"]["0.1"][0][5])
    )


def test_pages_of_methods_and_data_sets_that_are_gone_are_removed(copy):
    protocol = small_protocol()
    left = protocol.model_copy(
        update={
            "methods": {"moco": protocol.methods["moco"]},
            "datasets": {CHEST: protocol.datasets[CHEST]},
        }
    )
    write_reports(left)
    assert [file.name for file in Path("reports/methods").iterdir()] == ["moco.html"]
    assert [file.name for file in Path("reports/datasets").iterdir()] == [f"{CHEST}.html"]
    assert "random-init" not in Path("reports/methods/moco.html").read_text()


def test_sample_images_are_the_training_images_and_their_views(prepared_project):
    protocol = read_protocol()
    dataset = next(iter(protocol.datasets))
    strip = sample_strip(dataset, protocol)
    prepared = read_prepared(data_folder(dataset))
    training = {prepared.images[row].tobytes() for row in prepared.indices("train")}
    for original, *views in strip.images:
        pixels, *others = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.address.split(",")[1]))))
            for picture in (original, *views)
        )
        assert pixels.reshape(prepared.images.shape[1:]).tobytes() in training
        assert [other.shape for other in others] == [pixels.shape] * 2
        assert not np.array_equal(others[0], others[1])
    assert sample_strip(dataset, protocol) == strip


@pytest.mark.parametrize(("colours", "paper"), [(COLOURS, "#ffffff"), (DARK_COLOURS, "#14181d")])
def test_colours_of_methods_stand_out_from_the_paper(colours, paper):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    for colour in colours:
        dark, light = sorted((luminance(colour), luminance(paper)))
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


def test_no_two_methods_look_alike():
    styles = method_styles([f"m{i}" for i in range(56)]).values()
    assert len({(style.colour, style.shape) for style in styles}) == 56


def test_charts_of_many_methods_show_the_baseline_and_the_best():
    methods = [f"m{i}" for i in range(20)]
    order = methods[::-1]
    assert drawn_methods(methods, "m0", order) == ["m0", *methods[13:]]
    assert drawn_methods(methods[:8], "m0", order) == methods[:8]


def test_the_same_results_give_the_same_bytes(copy):
    before = {file: file.read_bytes() for file in Path("reports").rglob("*.*")}
    assert {str(file.relative_to("reports")) for file in before} >= {
        *PAGES,
        "results.csv",
        "results.json",
        "metrics.json",
    }
    write_reports(small_protocol())
    assert {file: file.read_bytes() for file in Path("reports").rglob("*.*")} == before


def test_without_any_result_the_page_still_comes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_reports(small_protocol())
    text = " ".join(Page(file.read_text(encoding="utf-8")).text)
    assert "0 of 64 cells are done; 64 missing." in text
    assert "data set not prepared" in text
    assert json.loads(Path("reports/metrics.json").read_text()) == {}
    assert set(pd.read_csv("reports/results.csv")["status"]) == {"missing"}


def test_files_that_cannot_be_read_are_holes_and_never_a_crash(copy):
    probe = stage_folder("probe", CHEST, "moco")
    write_text(probe / "seed-0" / CELL_FILE, "{}")
    shutil.rmtree(probe / "seed-1")
    probe.joinpath("seed-1").write_text("not a folder")
    record = read_record(stage_folder("ks", CHEST, "moco") / "seed-0")
    write_text(stage_folder("ks", CHEST, "moco") / "seed-0" / METRICS_FILE, "[1]")
    files = file_checksums(stage_folder("ks", CHEST, "moco") / "seed-0")
    write_text(
        stage_folder("ks", CHEST, "moco") / "seed-0" / CELL_FILE,
        record.model_copy(update={"files": files}).model_dump_json(),
    )
    write_text(data_folder(FUNDUS) / "card.json", "[]")
    write_reports(small_protocol())
    table = pd.read_csv("reports/results.csv")
    holes = table[table["status"] != "done"]
    chest = holes[holes["dataset"] == CHEST]
    assert dict(zip(zip(chest["evaluation"], chest["seed"], strict=True), chest["status"], strict=True)) == {
        ("finetune", 1): "failed", ("ks", 0): "damaged", ("ks", 1): "stale",
        ("probe", 0): "damaged", ("probe", 1): "missing",
    }  # fmt: skip
    assert set(table[table["dataset"] == FUNDUS]["status"]) == {"missing"}


def test_mixed_versions_and_a_single_seed_are_warned_of(copy):
    protocol = small_protocol(seeds=[0])
    cell = Cell("pretrain", CHEST, "moco", 0)
    write_cell(cell, Keys(protocol).key(cell), torch="2.14.0")
    text = " ".join(Page(write_reports(protocol).read_text(encoding="utf-8")).text)
    assert "One seed only" in text
    assert "Cells were computed with different versions of torch (2.14.0 and 2.15.0)." in text
    assert "One seed; below it the 95% bootstrap interval" in text


def test_unequal_numbers_of_images_are_warned_of(copy):
    protocol = small_protocol()
    cell = Cell("pretrain", CHEST, "moco", 0)
    folder = stage_folder("pretrain", CHEST, "moco") / cell.folder
    metrics = json.loads((folder / METRICS_FILE).read_text())
    write_json(folder / METRICS_FILE, metrics | {"images_seen": 480})
    record = read_record(folder).model_copy(update={"files": file_checksums(folder)})
    write_text(folder / CELL_FILE, record.model_dump_json())
    text = " ".join(Page(write_reports(protocol).read_text(encoding="utf-8")).text)
    # The mean of 480 and 160 over the two seeds.
    assert f"{CHEST}: methods have seen unequal numbers of images: random-init 160 and moco 320." in text
    assert f"{FUNDUS}: methods have seen unequal" not in text


def test_numbers_are_written_as_a_reader_expects():
    assert [number(x) for x in (0.12345, -0.5, -0.0001, None, float("nan"))] == [
        "0.123",
        "−0.500",
        "0.000",
        "–",
        "–",
    ]
    assert number(1234567.0, 0) == "1,234,567"
    assert [percent(x) for x in (0.01, 0.007, 1.0, 0.125)] == ["1%", "0.7%", "100%", "12.5%"]
    assert [listed(words) for words in ([], ["a"], ["a", "b", "c"])] == ["none", "a", "a, b and c"]
