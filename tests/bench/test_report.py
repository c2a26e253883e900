"""The report from a small run with holes: its numbers, its honesty, and that the page needs nothing else."""

import base64
import hashlib
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vl_convert
from sklearn.metrics import cohen_kappa_score, roc_auc_score

import bench
from bench.cells import Cell, Keys, all_cells
from bench.protocol import read_protocol
from bench.report.layout import listed, number, percent
from bench.report.leaderboard import write_reports
from bench.report.tidy import COLUMNS
from bench.results import (
    CELL_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    CellRecord,
    Provenance,
    data_folder,
    predictions_table,
    read_record,
    stage_folder,
    write_json,
    write_table,
    write_text,
)
from bench.scores import scores_of
from bench.stages.probe import block_predictions_file
from bench.store import file_checksums
from imssl.datasets.prepared import Card, SplitCounts

HTML_CLASS = "<script>alert(1)</script>"
CHEST, FUNDUS = "phantom-chest", "phantom-fundus"
SPLITS = {"train": 80, "val": 20, "test": 40}

FAILED = Cell("finetune", CHEST, "moco", 1, 0.1, "full")
MISSING = Cell("probe", FUNDUS, "moco", 0)
STALE = Cell("ks", CHEST, "random-init", 1)
DAMAGED = Cell("reuse", FUNDUS, "random-init", 0)


def small_protocol(**changes):
    protocol = read_protocol(Path(bench.__file__).parent / "profiles" / "demo.yaml")
    changes = {
        "datasets": {name: protocol.datasets[name] for name in (CHEST, FUNDUS)},
        "methods": {name: protocol.methods[name] for name in ("random-init", "moco")},
        "label_fractions": [0.1, 1.0],
        "report": protocol.report.model_copy(update={"resamples": 100}),
        **changes,
    }
    return protocol.model_copy(update=changes)


def card(dataset):
    chest = dataset == CHEST
    classes = [HTML_CLASS, "nodule", "never seen"] if chest else ["none", "mild", "severe"]
    counts = {
        s: SplitCounts(samples=n, patients=n // 4, per_class=dict.fromkeys(classes, 5))
        for s, n in SPLITS.items()
    }
    return Card(
        name=dataset, synthetic=True, task="multilabel" if chest else "ordinal", classes=classes,
        primary_metric="macro_auroc" if chest else "qwk", source="a source", description="Some images.",
        url="https://example.org/data", licence="CC0 & others", citation="Nobody (2020)",
        image_shape=(8, 8, 1), has_patients=True, patients_note="", split_origin="drawn",
        counts=counts, skipped=[], channel_mean=[0.5], channel_std=[0.25], inputs={},
        checksums={"images.npy": dataset, "samples.csv": "1"},
    )  # fmt: skip


def samples_of(dataset):
    generator = np.random.default_rng(len(dataset))
    labels = (generator.random((40, 3)) < [0.5, 0.3, 0.0]).astype(int)
    if dataset == FUNDUS:
        labels = generator.integers(3, size=(40, 1))
    table = pd.DataFrame({"id": [f"i{i}" for i in range(40)], "patient": [f"p{i // 4}" for i in range(40)]})
    table[card(dataset).label_columns] = labels
    return table


def labels_of(dataset):
    labels = samples_of(dataset)[card(dataset).label_columns].to_numpy()
    return labels if dataset == CHEST else labels[:, 0]


def probabilities_of(cell, block=0):
    words = f"{cell} {block}".encode()
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(words).digest()[:4]))
    return np.round(generator.dirichlet(np.ones(3), size=40), 6)


def write_cell(cell, key, status="done", reason=None, torch="2.15.0"):
    folder = stage_folder(cell.stage, cell.dataset, cell.method) / cell.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if status == "done":
        write_cell_files(cell, folder)
    origin = Provenance(
        started="2026-01-02T03:04:05+00:00", seconds=1.5, commit="0123456789abcdef", clean=True,
        device="a CPU", python="3.12.1", packages={"torch": torch}, command="dvc repro",
    )  # fmt: skip
    record = CellRecord(
        key=key, stage=cell.stage, dataset=cell.dataset, method=cell.method, seed=cell.seed,
        fraction=cell.fraction, mode=cell.mode, status=status, reason=reason, files=file_checksums(folder),
        provenance=origin,
    )  # fmt: skip
    write_text(folder / CELL_FILE, record.model_dump_json())


def write_cell_files(cell, folder):
    samples, labels, owner = samples_of(cell.dataset), labels_of(cell.dataset), card(cell.dataset)
    if cell.stage == "pretrain":
        epochs = [0] if cell.method == "random-init" else [1, 2]
        history = [{"epoch": e, "loss": 3.0 - e - cell.seed, "knn_macro_auroc": 0.5 + e / 10} for e in epochs]
        write_table(folder / HISTORY_FILE, pd.DataFrame(history))
        cost = {"images_seen": 160, "trained_parameters": 1234, "peak_memory_mib": 100.0}
        write_json(folder / METRICS_FILE, {**cost, "seconds": 2.5 + cell.seed})
    elif cell.stage == "finetune":
        probabilities = probabilities_of(cell)
        write_table(folder / PREDICTIONS_FILE, predictions_table(samples, owner, probabilities))
        extra = {"best_step": 5, "seconds": 1.0} if cell.mode == "full" else {"l2": 0.01, "converged": True}
        scores = scores_of(owner, labels, probabilities)
        write_json(folder / METRICS_FILE, {**scores, **extra, "labelled_images": round(80 * cell.fraction)})
    elif cell.stage == "probe":
        blocks = {}
        for block in range(1, 5):
            probabilities = probabilities_of(cell, block)
            write_table(
                folder / block_predictions_file(block), predictions_table(samples, owner, probabilities)
            )
            scores = scores_of(owner, labels, probabilities)
            blocks[f"block_{block}"] = {**scores, "validation_metric": 0.5, "l2": 0.1, "converged": True}
        write_json(folder / METRICS_FILE, blocks)
    elif cell.stage == "reuse":
        rows = [{"fraction": f, "block": b, "kernel": k, "observed": 1 - b / 10 - f / 20 + cell.seed / 100,
                 "mean": 0.0, "percentile_95": 0.02, "p_value": 0.01, "permutations": 100}
                for f in (0.1, 1.0) for b in range(1, 5) for k in ("linear", "rbf")]  # fmt: skip
        write_json(folder / METRICS_FILE, rows)
    else:
        per_class = dict(zip(owner.classes, (0.1, 0.2, 0.3 + cell.seed / 10), strict=True))
        mean = float(np.mean(list(per_class.values())))
        write_json(folder / METRICS_FILE, [{"fraction": 0.1, "mean": mean, "per_class": per_class}])


def write_run(protocol):
    for dataset in protocol.datasets:
        write_text(data_folder(dataset) / "card.json", card(dataset).model_dump_json())
    keys = Keys(protocol)
    for cell in all_cells(protocol):
        if cell == FAILED:
            write_cell(cell, keys.key(cell), "failed", "the loss is <b>not</b> finite")
        elif cell != MISSING:
            write_cell(cell, "0" * 64 if cell == STALE else keys.key(cell))
        if cell == DAMAGED:
            write_json(stage_folder("reuse", FUNDUS, "random-init") / cell.folder / METRICS_FILE, [])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a run that has one hole of each kind, and its report."""
    folder = tmp_path_factory.mktemp("run")
    before = Path.cwd()
    os.chdir(folder)
    try:
        write_run(small_protocol())
        write_reports(small_protocol())
    finally:
        os.chdir(before)
    return folder


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
        assert f"{number(min(both))} to {number(max(both))}" in text
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
    assert re.search(rf'<span class="best">best</span> <span class="value">{number(best)}<', page)
    assert not re.search(rf'<span class="best">best</span> <span class="value">{number(other)}<', page)


def test_page_says_what_limits_its_numbers(page):
    text = " ".join(Page(page).text)
    assert "Synthetic images." in text
    assert "say nothing about medicine" in text
    assert f"{CHEST}: no AUROC for “never seen”" in text
    assert "bootstrap interval over the 10 test patients" in text
    assert "not the choice of seeds" in text
    assert "One seed only" not in text
    assert "different versions" not in text


def test_text_from_data_is_escaped_everywhere(page):
    parsed = Page(page)
    assert any(HTML_CLASS in text for text in parsed.text)
    assert HTML_CLASS not in page
    assert [kind for kind, _ in parsed.scripts if kind != "application/json"] == ["module"]


def test_page_asks_the_network_for_nothing(page):
    parsed = Page(page)
    for tag, name, address in parsed.attributes:
        assert name not in ("src", "srcset", "action", "data", "poster", "style")
        assert name != "href" or address.startswith("#"), f"{tag} {name}={address}"
        assert not name.startswith("on")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    assert "@import" not in style
    assert "url(" not in style
    (policy,) = [
        content for tag, name, content in parsed.attributes if tag == "meta" and "default-src" in str(content)
    ]
    (script,) = [text for kind, text in parsed.scripts if kind == "module"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}';")
    assert "unsafe-eval" not in policy
    assert len(page.encode()) < 3_000_000


def test_links_on_the_page_have_their_targets(page):
    attributes = Page(page).attributes
    targets = [value for _, name, value in attributes if name == "id"]
    assert len(targets) == len(set(targets))
    assert {value[1:] for _, name, value in attributes if name == "href"} <= set(targets)


def test_charts_are_valid_and_have_a_text_alternative(page):
    specs = [json.loads(text) for kind, text in Page(page).scripts if kind == "application/json"]
    charts = [spec for spec in specs if "$schema" in spec]
    # Two for label efficiency, one probe, two times two for CKA and two curves for each data set.
    assert len(charts) == 2 * (2 + 1 + 4 + 2)
    for spec in charts:
        assert CHEST in spec["description"] or FUNDUS in spec["description"]
    for spec in charts[:6] + charts[-2:]:
        assert vl_convert.vegalite_to_vega(spec)["marks"]
    labels = [value for _, name, value in Page(page).attributes if name == "aria-label"]
    assert all(spec["description"] in labels for spec in charts)


def test_the_same_results_give_the_same_bytes(copy):
    before = {file: file.read_bytes() for file in Path("reports").rglob("*.*")}
    assert {file.name for file in before} >= {
        "leaderboard.html",
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
    assert "One seed; in brackets" in text


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
