"""The heads of columns in a real browser: in sight while the page scrolls, and where they were in print."""

import pytest

pytestmark = pytest.mark.slow  # a browser is opened for every test

TABLE = "#scores-finetune"
# Until the middle of the table is at the lower edge of the bar; and again, as charts above it are drawn when
# they come near.
SCROLL_TO_THE_MIDDLE = """async (table) => {
    const bar = document.querySelector(".bar");
    const edge = () => (getComputedStyle(bar).position === "sticky" ? bar.getBoundingClientRect().bottom : 0);
    for (let time = 0; time < 5; time += 1) {
        const { top, bottom } = document.querySelector(table).getBoundingClientRect();
        scrollBy({ top: (top + bottom) / 2 - edge(), behavior: "instant" });
        await new Promise((done) => setTimeout(done, 200));
    }
    return edge();
}"""


def top_and_bottom(page, selector):
    box = page.locator(selector).first.bounding_box()
    return box["y"], box["y"] + box["height"]


def is_on_top(page, selector):
    """Whether what is seen in the middle of an element is the element itself."""
    return page.locator(selector).first.evaluate(
        """(own) => {
            const { left, right, top, bottom } = own.getBoundingClientRect();
            const middle = (left + Math.min(right, innerWidth)) / 2;
            const seen = document.elementFromPoint(middle, (top + bottom) / 2);
            return own === seen || own.contains(seen);
        }"""
    )


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (375, "light")])
def test_the_head_of_a_table_stays_in_sight_while_the_page_scrolls(visit, width, theme):
    page = visit(viewport={"width": width, "height": 900}, color_scheme=theme)
    edge = page.evaluate(SCROLL_TO_THE_MIDDLE, TABLE)
    top, bottom = top_and_bottom(page, f"{TABLE} thead")
    # Below the bar, or on the last row where the table ends.
    start, end = top_and_bottom(page, f".scroll:has({TABLE})")
    assert start < edge - 20
    assert bottom == pytest.approx(min(edge + bottom - top, end), abs=20)
    assert is_on_top(page, f"{TABLE} thead th:nth-child(2)")
    paper = "getComputedStyle(document.querySelector('{}')).backgroundColor"
    assert page.evaluate(paper.format(f"{TABLE} thead")) == page.evaluate(paper.format("body"))


def test_what_is_below_the_head_is_seen(visit):
    page = visit(viewport={"width": 1280, "height": 900})
    # Eight rows: the two of the small run are no taller than their head.
    page.locator(f"{TABLE} tbody").evaluate(
        "(body) => body.append(...[1, 2, 3].flatMap(() => [...body.rows].map((row) => row.cloneNode(true))))"
    )
    edge = page.evaluate(SCROLL_TO_THE_MIDDLE, TABLE)
    top, bottom = top_and_bottom(page, f"{TABLE} thead")
    assert top == pytest.approx(edge, abs=1)
    rows = [row.bounding_box() for row in page.locator(f"{TABLE} tbody tr").all()]
    below = [row["y"] for row in rows if row["y"] >= bottom]
    assert len(below) >= 2
    assert max(below) < 900


def test_the_head_moves_sideways_with_its_table(visit):
    page = visit(viewport={"width": 600, "height": 900})
    page.evaluate(SCROLL_TO_THE_MIDDLE, TABLE)
    page.locator(f".scroll:has({TABLE})").evaluate("(box) => { box.scrollLeft = 60; }")
    assert page.locator(f".scroll:has({TABLE})").evaluate("(box) => box.scrollLeft") == 60
    for column in (2, 5):
        head = page.locator(f"{TABLE} tr.columns th").nth(column - 1).bounding_box()
        cell = page.locator(f"{TABLE} tbody tr td:nth-child({column + 1})").first.bounding_box()
        assert head["x"] == pytest.approx(cell["x"], abs=1)
    first = page.locator(f"{TABLE} thead th").first.bounding_box()
    assert first["x"] == pytest.approx(page.locator(f"{TABLE} tbody th").first.bounding_box()["x"], abs=1)


def test_heads_are_where_they_were_in_print(visit):
    page = visit(viewport={"width": 1280, "height": 900})
    page.evaluate(SCROLL_TO_THE_MIDDLE, TABLE)
    transform = f"getComputedStyle(document.querySelector('{TABLE} thead')).transform"
    assert page.evaluate(transform) != "none"
    page.emulate_media(media="print")
    assert page.evaluate(transform) == "none"
