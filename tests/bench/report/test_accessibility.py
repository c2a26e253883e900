"""What axe finds on the pages, in both themes, with all charts drawn."""

import pytest

from tests.bench.small_run import CHEST

pytestmark = pytest.mark.slow
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}


def draw_all(page):
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function("!document.querySelector('.chart:not([data-drawn])')")


@pytest.mark.parametrize(
    ("name", "theme"),
    [
        ("leaderboard.html", "light"),
        ("leaderboard.html", "dark"),
        ("methods/moco.html", "dark"),
        (f"datasets/{CHEST}.html", "light"),
    ],
)
def test_axe_finds_nothing(visit, name, theme):
    page = visit(name, color_scheme=theme)
    draw_all(page)
    if theme == "light":
        page.evaluate("for (const own of document.querySelectorAll('details:not(.menu)')) own.open = true")
    found = axe.Axe().run(page, options=RULES).response["violations"]
    assert [(own["id"], [node["html"][:200] for node in own["nodes"]][:3]) for own in found] == []


def test_axe_finds_nothing_in_the_details_of_a_cell(visit):
    page = visit()
    page.locator("#scores-finetune td[tabindex]").first.click()
    assert page.locator("dialog h3").count() > 3
    found = axe.Axe().run(page, context="dialog", options=RULES).response["violations"]
    assert [(own["id"], own["nodes"][0]["html"][:200]) for own in found] == []
