"""Long folded tables, which are one text until they are opened."""

import re

import pytest

pytestmark = pytest.mark.slow  # a browser is opened for every test
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

METHODS = ["random-init", "moco", *(f"method-{i}" for i in range(19))]
DIFFERENCES = "#differences-finetune"
FOLD = "details > summary:text('Difference to moco')"


@pytest.fixture
def large(written, tmp_path):
    """The reports of a made-up run with many methods."""
    written(METHODS, real=("two",))
    return tmp_path / "reports"


def rows_in(page, table):
    return page.locator(f"{table} tbody tr[data-method]:visible").count()


def test_a_fold_that_is_opened_has_tables_like_all_others(visit, large):
    page = visit(reports=large)
    assert page.locator(DIFFERENCES).count() == 0
    page.get_by_label("Search methods").fill("method-1")
    page.locator(FOLD).first.click()
    page.wait_for_selector(DIFFERENCES)
    assert rows_in(page, DIFFERENCES) == 10
    page.locator("#reset-view").click()
    assert rows_in(page, DIFFERENCES) == len(METHODS) - 1  # but the baseline
    column = page.locator(f"{DIFFERENCES} tr.columns th").nth(1)
    column.locator("button").click()
    assert column.get_attribute("aria-sort") == "descending"
    block = page.locator(".table-block", has=page.locator(DIFFERENCES))
    assert block.get_by_role("button", name="Download as CSV").count() == 1
    page.locator(f"{DIFFERENCES} td[tabindex]").first.click()
    assert page.locator("dialog h3").count() > 1


def test_the_hash_sorts_a_table_that_is_opened_later(visit, large):
    page = visit(reports=large, view="#sort=differences-finetune.1.up")
    page.locator(FOLD).first.click()
    page.wait_for_selector(DIFFERENCES)
    assert page.locator(f"{DIFFERENCES} th[aria-sort=ascending]").count() == 1


def test_a_metric_that_stands_in_folds_only_opens_them(visit, large):
    page = visit(reports=large)
    assert page.locator("#finetune-accuracy").count() == 0
    page.locator("select[name=metric]").select_option("accuracy")
    assert rows_in(page, "#finetune-accuracy") == len(METHODS)
    again = visit(reports=large, view="#metric=accuracy&sort=finetune-accuracy.1.up")
    assert rows_in(again, "#finetune-accuracy") == len(METHODS)
    assert again.locator("#finetune-accuracy th[aria-sort=ascending]").count() == 1


@pytest.mark.parametrize("name", ["leaderboard.html", "datasets/one.html"])
def test_without_scripts_every_table_is_there(visit, large, name):
    page = visit(name, reports=large, java_script_enabled=False)
    written = re.findall(r'<table id="([^"]+)"', (large / name).read_text(encoding="utf-8"))
    there = page.locator("table[id]")
    assert {there.nth(i).get_attribute("id") for i in range(there.count())} == set(written)
    fold = page.locator("details", has=page.locator("noscript table")).first
    fold.locator("summary").first.click()
    assert fold.locator("tbody tr:visible").count() >= len(METHODS) - 1


def test_axe_finds_nothing_in_opened_folds(visit, large):
    page = visit(reports=large)
    page.locator("section details:has(> noscript) > summary").first.click()
    page.wait_for_function("document.querySelectorAll('section details[open] table').length > 0")
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = axe.Axe().run(page, options=rules).response["violations"]
    assert [(own["id"], own["nodes"][0]["html"][:200]) for own in found] == []
