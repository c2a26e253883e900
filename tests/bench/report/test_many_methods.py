"""Charts draw the eight best methods, tables hold every one; what a row uses that others do not is said."""

import re
from dataclasses import replace

import pytest

from bench.report.view import MOST_DRAWN
from tests.bench.report.reading import charts_of

METHODS = ["random-init", "moco", *(f"method-{i}" for i in range(8)), "best"]


def methods_of(table):
    return set(re.findall(r'<tr data-method="([^"]+)"', table))


def test_tables_hold_every_method_and_charts_the_best(written):
    view, found = written(METHODS)
    assert len(view.drawn) == MOST_DRAWN
    assert {"moco", "best"} <= set(view.drawn)
    for name in ("leaderboard", "one"):
        tables = dict(re.findall(r'<table[^>]* id="(t-[^"]+)"(.*?)</table>', found[name], re.DOTALL))
        shown = {place: methods_of(table) for place, table in tables.items() if methods_of(table)}
        assert {"t-probe-one", "t-cka-linear-one", "t-ks-one", "t-cost-one", "t-outputs-one"} <= set(shown)
        assert {place: set(METHODS) - names for place, names in shown.items()} == {
            place: set() for place in shown
        }
        for words, spec in charts_of(found[name]).values():
            drawn = {record["method"] for record in spec["data"]["values"] if "method" in record}
            assert drawn <= set(view.drawn), words
    assert "t-reliability-finetune-one" in found["one"]


@pytest.mark.slow
def test_ones_own_method_is_drawn_though_it_is_the_last(written, visit, tmp_path):
    """As beside a published study: charts and their keys, before anything is chosen and with a filter."""
    worst = METHODS[0]
    made, _ = written(METHODS, real=("two",), own=[worst])
    assert worst in made.drawn
    assert worst not in replace(made, drawn_first=("moco",)).drawn
    for view in ("", "#datasets=one"):
        page = visit(reports=tmp_path / "reports", view=view)
        drawn = page.locator(".key").first.locator("button[aria-pressed=true]").all_inner_texts()
        assert len(drawn) == MOST_DRAWN
        assert {"moco", worst} <= set(drawn)


@pytest.mark.parametrize("synthetic", [True, False])
def test_only_procedural_images_are_called_synthetic(written, monkeypatch, synthetic):
    if not synthetic:
        monkeypatch.setattr("bench.summary.summary.PhantomSettings", type("Nothing", (), {}))
    _, found = written(["random-init", "moco"], synthetic)
    for name in ("leaderboard", "moco"):
        assert ("Synthetic images." in found[name]) == synthetic
        assert ("procedural:" in found[name] or "one: the numbers" in found[name]) == synthetic
        assert "none are" not in found[name]
        assert "none:" not in found[name]


@pytest.mark.parametrize(
    ("synthetic", "real", "title"),
    [
        (True, (), "Synthetic images."),
        (True, ("two",), "Partly synthetic images."),
        (False, ("two",), None),
    ],
)
def test_the_banner_says_which_images_are_synthetic(
    written, visit, tmp_path, monkeypatch, synthetic, real, title
):
    monkeypatch.setattr("bench.summary.summary.PhantomSettings", type("Nothing", (), {}))
    written(["random-init", "moco"], synthetic, real=real)
    for name in ("results.csv", "results.json", "metrics.json"):
        (tmp_path / "reports" / name).touch()
    page = visit(reports=tmp_path / "reports")
    banner = page.locator(".banner")
    assert banner.count() == (title is not None)
    if title:
        text = banner.inner_text()
        assert text.startswith(f"{title} one is procedural")
        assert "two is procedural" not in text
    # A run of real images is judged in the open; one of synthetic images is folded to a line.
    assert page.locator("details#paper").count() == (title == "Synthetic images.")
    assert page.locator("#claims").is_visible() == (title != "Synthetic images.")


def test_more_than_eight_are_drawn_when_they_are_ticked(written, visit, tmp_path):
    view, _ = written(METHODS)
    for name in ("results.csv", "results.json", "metrics.json"):
        (tmp_path / "reports" / name).touch()
    page = visit(reports=tmp_path / "reports")
    assert set(page.evaluate("[...shownInCharts().methods]")) == set(view.drawn)
    other = next(name for name in METHODS if name not in view.drawn)
    key = page.locator(".key").first
    key.locator("summary").click()
    key.locator(".menu button", has_text=other).click()
    assert set(page.evaluate("[...shownInCharts().methods]")) == {*view.drawn, other}
    chart = page.locator("#outputs-one .chart")
    chart.scroll_into_view_if_needed()
    page.wait_for_selector("#outputs-one .chart[data-drawn]")
    assert chart.locator("svg text", has_text=f"{other}, KS").count() == 1


def test_what_a_row_uses_that_others_do_not_is_said(written):
    rows = {
        "pairs": {"file": "medaug.py"},
        "moco-slow": {"file": "moco.py", "optimisation": {"learning_rate": 0.01}},
        "masked-reconstruction": {},
    }
    _, found = written(["moco", *rows], changes=rows)
    leaderboard = found["leaderboard"]
    for name, words in {
        "pairs": "patient ids and views of other training images",
        "moco-slow": "its own learning_rate",
        "masked-reconstruction": "its own augmentation and its own optimiser",
    }.items():
        assert f'<a href="methods/{name}.html">{name}</a>: {words}' in leaderboard
        assert f"Unlike other methods, it uses {words}." in found[name]
    assert "Unlike other methods" not in found["moco"]
    assert '<a href="methods/moco.html">moco</a>: ' not in leaderboard
