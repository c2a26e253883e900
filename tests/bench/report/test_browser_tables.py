"""The tables in a real browser: what can be clicked, typed and shared, without a request."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.report.layout import number
from tests.bench.small_run import CHEST, FUNDUS

pytestmark = pytest.mark.slow  # a browser is opened for every test


def methods_in(page, table):
    rows = page.locator(f"#{table} tbody tr[data-method]:visible")
    return [rows.nth(i).get_attribute("data-method") for i in range(rows.count())]


def values_in(page, cells):
    """What cells say, without marks and small lines."""
    texts = "[...cell.childNodes].filter(node => node.nodeType === 3).map(node => node.data)"
    return page.locator(cells).evaluate_all(f"cells => cells.map(cell => {texts}.join('').trim())")


def test_a_column_sorts_by_mouse_and_keyboard_and_the_hash_holds_it(visit):
    page = visit()
    column = page.locator("#scores-finetune tr.columns th").nth(2)
    values = "#scores-finetune tbody tr td:nth-child(4)"
    column.locator("button").click()
    assert column.get_attribute("aria-sort") == "descending"
    falling = [float(text) for text in values_in(page, values)]
    assert falling == sorted(falling, reverse=True)
    column.locator("button").press("Enter")
    assert column.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in values_in(page, values)] == falling[::-1]
    again = visit(view="#" + page.url.split("#")[1])
    assert again.locator("#scores-finetune tr.columns th").nth(2).get_attribute("aria-sort") == "ascending"
    assert methods_in(again, "scores-finetune") == methods_in(page, "scores-finetune")


def test_a_metric_whose_lower_value_is_better_sorts_from_the_lowest_first(visit):
    page = visit(view="#metric=brier_score")
    column = page.locator("#finetune-brier-score tr.columns th").nth(1)
    for expected in ("ascending", "descending"):
        column.locator("button").click()
        assert column.get_attribute("aria-sort") == expected
        values = [float(text) for text in values_in(page, "#finetune-brier-score tbody tr td:nth-child(3)")]
        assert values == sorted(values, reverse=expected == "descending")


def test_a_hole_sorts_last_whichever_way(visit):
    page = visit()
    button = page.locator("#scores-finetune tr.columns th button").nth(1)
    for _ in range(2):
        button.click()
        # moco lacks a seed in this column.
        assert methods_in(page, "scores-finetune") == ["random-init", "moco"]


def test_search_and_filters_hide_rows_and_columns_and_the_hash_restores_them(visit):
    page = visit()
    page.get_by_label("Search methods").fill("rand")
    assert methods_in(page, "scores-finetune") == ["random-init"]
    assert page.locator("#filters output").text_content() == "1 of 2 methods"
    page.locator("summary", has_text="Data sets").first.click()
    page.locator(f"#filters input[value='{FUNDUS}']").uncheck()
    page.locator("summary", has_text="Labels").first.click()
    page.locator("#filters input[value='0.1']").uncheck()
    heads = page.locator("#scores-finetune tr.columns th:visible button").all_text_contents()
    # One data set at 100% of the labels, after the mean score of just that.
    assert heads == ["mean score", "100%"]
    page.locator("select[name=evaluation]").select_option("finetune")
    assert page.locator("#scores-frozen").is_hidden()
    again = visit(view="#" + page.url.split("#")[1])
    assert again.get_by_label("Search methods").input_value() == "rand"
    assert again.locator("#scores-finetune tr.columns th:visible button").all_text_contents() == heads
    again.locator("#finetune summary", has_text="Difference to moco").click()
    assert methods_in(again, "differences-finetune") == ["random-init"]
    again.locator("#reset-view").click()
    assert methods_in(again, "scores-finetune") == methods_in(visit(), "scores-finetune")
    assert "#" not in again.url


def test_the_metric_filter_leaves_its_tables(visit):
    page = visit()
    page.locator("select[name=metric]").select_option("accuracy")
    assert page.locator("#finetune-accuracy").is_visible()
    assert page.locator("#scores-finetune").is_hidden()
    page.locator("select[name=metric]").select_option("primary")
    assert page.locator("#scores-finetune").is_visible()
    assert page.locator("#finetune-accuracy").is_hidden()


def test_a_single_column_can_be_hidden_and_the_table_downloaded_as_it_is_shown(visit):
    page = visit()
    block = page.locator(".table-block", has=page.locator("#scores-finetune"))
    block.locator(".tools summary").click()
    block.locator(".tools label", has_text=f"{CHEST}, 10%").locator("input").uncheck()
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        block.get_by_role("button", name="Download as CSV").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f'"Method","All data sets, mean score","detail","{CHEST}, 100%","detail"')
    shown = values_in(page, "#scores-finetune tbody tr:first-child td:nth-child(2)")[0]
    assert lines[1].split(",")[1] == f'"{shown.replace("−", "-")}"'
    assert len(lines) == 3


def test_a_number_opens_what_is_behind_it_by_mouse_and_keyboard(visit):
    page = visit()
    cells = page.locator("#scores-finetune tbody tr[data-method='moco'] td[tabindex]")
    cells.first.click()
    dialog = page.locator("dialog")
    text = dialog.inner_text()
    for words in (
        f"moco on {CHEST}, 10%",
        "failed: the loss is <b>not</b> finite",
        "2026-01-02T03:04:05+00:00",
        "0123456789ab",
        "a CPU",
        "torch 2.15.0",
        "git checkout 0123456789abcdef",
        f"DVC stage finetune@{CHEST}-moco",
        f"bench rerun finetune/{CHEST}/moco/seed-0/fraction-0.1",
        "CC0 & others",
        "Nobody (2020)",
    ):
        assert words in text, words
    # No column of the runs is cut off.
    assert (
        dialog.locator(".scroll").evaluate_all(
            "(boxes) => boxes.filter((box) => box.scrollWidth > box.clientWidth).length"
        )
        == 0
    )
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    first = page.locator("#scores-finetune td[tabindex='0']")
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.cellIndex") == 3
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    dialog.get_by_role("button", name="Close").click()
    assert page.evaluate("document.activeElement.cellIndex") == 3


def test_the_theme_follows_the_system_and_the_button(visit):
    def paper(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert paper(light) == "rgb(255, 255, 255)"
    assert paper(dark) == "rgb(20, 24, 29)"
    light.locator("#theme").click()
    assert paper(light) == paper(dark)
    light.locator("#standings a", has_text="moco").click()
    light.wait_for_selector("html[data-ready]")
    assert paper(light) == paper(dark)
    light.go_back()
    assert paper(visit(view="#" + light.url.split("#")[1], color_scheme="light")) == paper(dark)


def test_without_javascript_the_tables_are_complete(visit):
    page = visit(java_script_enabled=False)
    assert page.locator("#scores-finetune tbody tr").count() == 2
    assert page.locator("#scores-finetune tbody td:visible").count() == 2 * 5
    assert page.locator("#filters").is_hidden()
    assert page.locator("#theme").is_hidden()
    for figure in page.locator("figure:has(.chart)").all():
        assert figure.locator(".chart").inner_text() == figure.locator(".chart").get_attribute("aria-label")
    notes = page.locator("noscript p").all()
    # Label efficiency, probes, reuse, stability and the outputs behind it, curves, cost.
    assert len(notes) == 7
    assert all("the tables hold their numbers" in note.inner_text() for note in notes)


def test_nothing_in_the_hash_runs(visit):
    page = visit(
        view="#q=<img src=x onerror=alert(1)>&theme=dark&sort=nothing.99.up&hide=x.y,,&evaluation=<b>"
    )
    said = page.locator("#filters output").text_content()
    assert said == "No method matches “<img src=x onerror=alert(1)>”."
    assert page.locator("main img").count() == 0


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_is_never_wider_than_its_window(visit, width):
    page = visit(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_no_table_beside_another_is_cut_off(visit):
    page = visit(f"datasets/{CHEST}.html", viewport={"width": 1100, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".two .scroll")]
            .filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.ariaLabel)"""
    )
    assert cut == []


def test_the_hash_lists_what_is_shown_and_a_changed_one_is_followed(visit):
    page = visit(view=f"#datasets={CHEST}")
    groups = page.locator("#scores-finetune th.over:visible > span").all_text_contents()
    assert groups == ["What is chosen", CHEST]
    assert page.locator(f"figure[data-dataset='{FUNDUS}']:visible").count() == 0
    assert page.locator(f"figure[data-dataset='{CHEST}']:visible").count() > 3
    page.evaluate(f"location.hash = '#datasets={FUNDUS}&q=moco'")
    page.wait_for_function("document.querySelector('[name=q]').value === 'moco'")
    assert page.locator("#scores-finetune th.over:visible > span").all_text_contents()[1:] == [FUNDUS]
    assert page.locator(".key li:visible").first.inner_text() == "moco"
    page.evaluate("location.hash = '#datasets='")
    page.wait_for_function(
        "document.querySelector('#filters output').textContent === 'No data set is chosen.'"
    )


def test_mean_scores_of_a_part_are_those_of_a_run_with_that_part(visit, run):
    document = json.loads((run / "reports" / "results.json").read_text())
    wanted = [
        row
        for row in document["ranks"]
        if (row["dataset"], row["evaluation"], row["method"]) == (CHEST, "finetune", "random-init")
    ]
    page = visit(view=f"#datasets={CHEST}")
    cell = "#standings tr[data-method='random-init'] td:nth-child(2)"
    # Macro AUROC is 0.5 at chance.
    assert values_in(page, cell) == [number(np.mean([2 * row["mean"] - 1 for row in wanted]))]
    page.locator("#reset-view").click()
    standing = next(
        row
        for row in document["standings"]
        if (row["evaluation"], row["method"]) == ("finetune", "random-init")
    )
    assert values_in(page, cell) == [number(standing["mean_score"])]


def test_search_reaches_charts_and_a_key_toggles_a_series(visit):
    page = visit()
    key = page.locator(".key").first
    button = key.get_by_role("button", name="moco")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.evaluate("[...shownInCharts().methods]") == ["random-init"]
    assert "without=moco" in page.url
    page.locator("#reset-view").click()
    page.get_by_label("Search methods").fill("nobody")
    assert page.locator("#filters output").text_content() == "No method matches “nobody”."
    assert page.evaluate("shownInCharts().methods.size") == 0


def test_a_primary_metric_is_not_filtered_away_where_it_is_primary(visit):
    page = visit(view="#metric=macro_auroc")
    groups = page.locator("#scores-finetune th.over:visible > span").all_text_contents()
    assert groups == ["What is chosen", CHEST]
    assert page.locator("#finetune-macro-auroc th.over:visible > span").all_text_contents() == [FUNDUS]


def test_a_word_explains_itself_where_it_is_pressed(visit):
    page = visit()
    term = page.locator("button.term", has_text="mean score").first
    term.click()
    card = page.locator(f"#{term.get_attribute('popovertarget')}")
    assert card.is_visible()
    assert "0 is chance and 1 is perfect" in card.inner_text()
