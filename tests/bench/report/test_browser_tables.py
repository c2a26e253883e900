"""The tables in a real browser: what can be clicked, typed and shared, without a request."""

from pathlib import Path

import pytest

from tests.bench.small_run import CHEST, FUNDUS


def methods_in(page, table):
    rows = page.locator(f"#{table} tbody tr[data-method]:visible")
    return [rows.nth(i).get_attribute("data-method") for i in range(rows.count())]


def test_a_column_sorts_by_mouse_and_keyboard_and_the_hash_holds_it(visit):
    page = visit()
    column = page.locator("#scores-finetune tr.columns th").nth(1)
    values = "#scores-finetune tbody tr td:nth-child(3) > span"
    column.locator("button").click()
    assert column.get_attribute("aria-sort") == "descending"
    falling = [float(text) for text in page.locator(values).all_text_contents()]
    assert falling == sorted(falling, reverse=True)
    column.locator("button").press("Enter")
    assert column.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in page.locator(values).all_text_contents()] == falling[::-1]
    again = visit(view="#" + page.url.split("#")[1])
    assert again.locator("#scores-finetune tr.columns th").nth(1).get_attribute("aria-sort") == "ascending"
    assert methods_in(again, "scores-finetune") == methods_in(page, "scores-finetune")


def test_a_metric_whose_lower_value_is_better_sorts_from_the_lowest_first(visit):
    page = visit(view="#metric=brier_score")
    column = page.locator("#finetune-brier-score tr.columns th").nth(1)
    for expected in ("ascending", "descending"):
        column.locator("button").click()
        assert column.get_attribute("aria-sort") == expected
        texts = page.locator("#finetune-brier-score tbody tr td:nth-child(3) > span").all_text_contents()
        values = [float(text) for text in texts]
        assert values == sorted(values, reverse=expected == "descending")


def test_a_hole_sorts_last_whichever_way(visit):
    page = visit()
    button = page.locator("#scores-finetune tr.columns th button").first
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
    # One data set at 100% of the labels, and the mean rank over all.
    assert heads == ["100%", "mean rank"]
    page.locator("select[name=evaluation]").select_option("finetune")
    assert page.locator("#scores-frozen").is_hidden()
    again = visit(view="#" + page.url.split("#")[1])
    assert again.get_by_label("Search methods").input_value() == "rand"
    assert again.locator("#scores-finetune tr.columns th:visible button").all_text_contents() == heads
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
    assert lines[0].startswith(f'"Method","{CHEST}, 100%","detail","{FUNDUS}, 10%","detail"')
    shown = page.locator("#scores-finetune tbody tr").first.locator("td:visible > span").first.text_content()
    assert lines[1].split(",")[1] == f'"{shown.replace("−", "-")}"'
    assert len(lines) == 3


def test_a_number_opens_what_is_behind_it_by_mouse_and_keyboard(visit):
    page = visit()
    cells = page.locator("#scores-finetune tbody tr[data-method='moco'] td")
    cells.first.click()
    dialog = page.locator("dialog")
    text = dialog.inner_text()
    for words in (
        f"moco on {CHEST}, {CHEST}, 10%",
        "failed: the loss is <b>not</b> finite",
        "2026-01-02T03:04:05+00:00",
        "0123456789ab",
        "a CPU",
        "torch 2.15.0",
        "git checkout 0123456789abcdef",
        f"dvc repro --force --single-item finetune@{CHEST}-moco",
        "rm -r .bench/cells/finetune/",
        "CC0 & others",
        "Nobody (2020)",
    ):
        assert words in text, words
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    first = page.locator("#scores-finetune td[tabindex='0']")
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.cellIndex") == 2
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    dialog.get_by_role("button", name="Close").click()
    assert page.evaluate("document.activeElement.cellIndex") == 2


def test_the_theme_follows_the_system_and_the_button(visit):
    def paper(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert paper(light) == "rgb(255, 255, 255)"
    assert paper(dark) == "rgb(20, 24, 29)"
    light.locator("#theme").click()
    assert paper(light) == paper(dark)
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
    assert page.locator("#filters output").text_content() == "0 of 2 methods"
    assert page.locator("main img").count() == 0


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_is_never_wider_than_its_window(visit, width):
    page = visit(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
