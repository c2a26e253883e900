"""How many labels a share stands for, in the heads of tables and on the axes of charts."""

import dataclasses

import pytest

from bench.report.material.label_counts import labels_drawn
from bench.summary.read import read_results
from bench.summary.summary import summarise
from imssl.settings.labels import LabelSet
from tests.bench.report.reading import charts_of, table_of
from tests.bench.small_run import CHEST, small_protocol


@pytest.fixture
def summary_with(run, monkeypatch):
    """The small run's summary with other counts for 10% of the labels: lowest and highest, by metric."""
    monkeypatch.chdir(run)
    summary = summarise(small_protocol(), read_results(small_protocol()))

    def make(counts):
        measured = dict(summary.measured)
        for name, row in summary.measured.items():
            if name.dataset == CHEST and name.labels == LabelSet(0.1) and name.metric.startswith("labelled_"):
                ends = counts.get(name.metric)
                if ends is None:
                    del measured[name]
                else:
                    measured[name] = row._replace(mean=sum(ends) / 2, lowest=ends[0], highest=ends[1])
        return dataclasses.replace(summary, measured=measured)

    return make


@pytest.mark.parametrize(
    ("training", "validation", "share", "words"),
    [
        ((12, 12), (2, 2), (0.1, 0.1), "12 + 2 images"),
        # A label set of whole images is hardly ever the share to the last digit.
        ((12, 12), (2, 2), (0.1004, 0.1004), "12 + 2 images"),
        ((12, 12), (2, 2), (0.15, 0.15), "12 + 2 images, 15% drawn"),
        ((1200, 1300), (2, 4), (0.1, 0.1083), "1,200–1,300 + 2–4 images, 10%–11% drawn"),
        ((12, 12), (0, 0), (0.1, 0.1), "12 + 0 images"),
        # Cells of before these were noted.
        ((12, 12), None, None, "12 images"),
        (None, None, None, ""),
    ],
)
def test_labels_drawn_are_told_in_words(summary_with, training, validation, share, words):
    counts = {
        "labelled_images": training,
        "labelled_validation_images": validation,
        "labelled_share": share,
    }
    assert labels_drawn(summary_with(counts), CHEST, "finetune", LabelSet(0.1)) == words


def test_tables_and_charts_name_the_images_behind_a_share(run, page):
    chest_page = (run / "reports" / "datasets" / f"{CHEST}.html").read_text(encoding="utf-8")
    head = "<span>10%</span><small>8 + 2 images</small>"
    for shown in (page, chest_page):
        for table in ("scores-finetune", "scores-knn", "finetune-accuracy", f"t-cka-linear-{CHEST}"):
            assert head in table_of(shown, table), table
        assert head in table_of(shown, f"t-ks-{CHEST}")
        assert "<small>8 + 2 images</small>" not in table_of(shown, "scores-probe")
    assert "training + validation images" in page.split('<table id="scores-finetune"')[1].split("</p>")[0]
    _, spec = charts_of(chest_page)[f"finetune-{CHEST}"]
    assert '"0.1": ["10%", "8 + 2"]' in spec["layer"][0]["encoding"]["x"]["axis"]["labelExpr"]
    assert any("10% of the labels (8 + 2 images)" in own["says"] for own in spec["data"]["values"])
