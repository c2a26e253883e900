"""The charts in a real browser: drawn when they come near, in either theme, in print."""

import re

import numpy as np
import pytest

from bench.protocol.cell import Cell
from bench.report.layout import number
from bench.report.leaderboard import write_reports
from tests.bench.report.reading import value
from tests.bench.small_run import CHEST, FUNDUS, HTML_CLASS, small_protocol, write_run

pytestmark = pytest.mark.slow  # a browser is opened for every test

DRAWN = ".chart[data-drawn]"
PAGES = ("leaderboard.html", "methods/random-init.html", f"datasets/{CHEST}.html")


@pytest.fixture(scope="module")
def hostile_reports(tmp_path_factory):
    """The report of a run whose method and data set have a name that no params.yaml may hold."""
    demo = small_protocol()
    protocol = small_protocol(
        methods={HTML_CLASS: {"file": "moco.py"}, "moco": demo.methods["moco"]},
        datasets={HTML_CLASS: demo.datasets[CHEST], FUNDUS: demo.datasets[FUNDUS]},
    )
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_run(protocol)
        write_reports(protocol)
    return folder / "reports"


def come_to(page, name):
    """Scroll to a figure and wait until it is drawn."""
    chart = page.locator(f"#{name} .chart")
    chart.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{name} {DRAWN}")
    return chart


def drawn_and_all(page):
    return page.locator(DRAWN).count(), page.locator(".chart").count()


@pytest.mark.parametrize("name", PAGES)
def test_a_chart_is_drawn_when_it_comes_near(visit, name):
    page = visit(name)
    names = [own.get_attribute("id") for own in page.locator("figure:has(.chart)").all()]
    assert names
    for figure in names:
        chart = come_to(page, figure)
        # A mark has a shape; an axis or a panel has a frame too, but no colour of a method.
        assert chart.locator("svg path[fill^='var(--c'], svg path[stroke^='var(--c']").count() >= 1, figure
    assert drawn_and_all(page) == (len(names), len(names))


def test_charts_far_from_the_screen_wait_and_keep_their_room(visit):
    page = visit()
    drawn, all_of_them = drawn_and_all(page)
    assert drawn < all_of_them
    before = page.locator(f"#cost-{FUNDUS}").bounding_box()
    come_to(page, f"cost-{FUNDUS}")
    after = page.locator(f"#cost-{FUNDUS}").bounding_box()
    assert after["height"] == pytest.approx(before["height"], abs=4)


def test_a_mark_says_its_numbers_where_it_is_pointed_at(visit, table):
    page = visit()
    chart = come_to(page, f"probe-{CHEST}")
    tip = page.locator("#tip")
    assert tip.is_hidden()
    both = [value(table, Cell("probe", CHEST, "moco", seed), "macro_auroc", block=2) for seed in (0, 1)]
    # The second method's marks, one for each block.
    chart.locator("svg .mark-symbol path[fill='var(--c1)']").nth(1).hover()
    assert tip.inner_text().startswith(f"moco, block 2: {number(np.mean(both))} [")
    box = tip.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1280
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_a_curve_says_its_numbers_from_the_page_of_a_method(visit):
    page = visit("methods/moco.html")
    chart = come_to(page, f"loss-{CHEST}")
    chart.locator("svg .mark-symbol path").first.hover()
    # The loss is 3 less the epoch and the seed: 2 and 1 at first, in the mean of two seeds.
    assert page.locator("#tip").inner_text() == "moco, epoch 1: 1.500"


def test_the_theme_recolours_a_drawn_chart(visit):
    def colours(chart):
        return chart.evaluate(
            """own => [...own.querySelectorAll("svg path[fill^='var(--c'], svg text, svg line")]
            .map(mark => getComputedStyle(mark).fill + getComputedStyle(mark).stroke)"""
        )

    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    name = f"probe-{CHEST}"
    in_light, in_dark = (colours(come_to(page, name)) for page in (light, dark))
    assert len(in_light) == len(in_dark) > 10
    assert all(one != other for one, other in zip(in_light, in_dark, strict=True))
    light.locator("#theme").click()
    assert colours(light.locator(f"#{name} .chart")) == in_dark


def test_print_draws_every_chart(visit, tmp_path):
    page = visit()
    drawn, all_of_them = drawn_and_all(page)
    assert drawn < all_of_them
    printed = page.pdf(path=tmp_path / "page.pdf")
    assert drawn_and_all(page) == (all_of_them, all_of_them)
    assert 3 < len(re.findall(rb"/Type\s*/Page\b", printed)) < 10


def test_print_has_numbers_no_smaller_than_their_intervals_and_no_key_without_its_charts(visit):
    page = visit()
    page.emulate_media(media="print")
    number, interval = (
        page.locator(f"#scores-finetune {part}").first.evaluate("(own) => getComputedStyle(own).fontSize")
        for part in ("td", "td small")
    )
    assert float(number.removesuffix("px")) > float(interval.removesuffix("px")) >= 10
    before_charts = page.locator(".key, h3:has(+ .key), p:has(+ .key)").evaluate_all(
        "(all) => all.map((own) => getComputedStyle(own).breakAfter)"
    )
    assert set(before_charts) == {"avoid"}


def test_names_that_look_like_markup_are_text_in_the_charts(visit):
    page = visit()
    axis = come_to(page, f"ks-{CHEST}").locator(".role-axis-label text").all_text_contents()
    # Long labels end in an ellipsis.
    assert any(HTML_CLASS.startswith(label.rstrip("…")) and "<script>" in label for label in axis)
    assert page.locator("svg script, .chart script").count() == 0


def test_a_method_and_a_data_set_that_look_like_markup_are_text_everywhere(visit, hostile_reports):
    page = visit(reports=hostile_reports)
    assert page.locator("#scores-finetune tbody th", has_text=HTML_CLASS).count() == 1
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function("!document.querySelector('.chart:not([data-drawn])')")
    headings = page.locator(".chart svg text").all_text_contents()
    assert any(re.match(re.escape(HTML_CLASS) + ", KS ", text) for text in headings)
    assert page.locator("figcaption", has_text=HTML_CLASS).count() >= 8
    page.locator(".chart svg .mark-symbol path").first.hover()
    assert page.locator("#tip").inner_text().startswith(HTML_CLASS)
    page.locator("#scores-finetune td[tabindex]").first.click()
    assert HTML_CLASS in page.locator("#cell-title").inner_text()
    assert page.locator("main script:not([type='application/json'])").count() == 0
