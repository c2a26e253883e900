"""The filters in a real browser: their fields, and what heads say of what they leave."""

import pytest

from tests.bench.small_run import CHEST

pytestmark = pytest.mark.slow  # a browser is opened for every test


def test_the_choices_of_a_filter_are_not_cut_off(visit):
    page = visit()
    for name in ("metric", "evaluation"):
        field = page.locator(f"select[name={name}]")
        for choice in field.locator("option").all_text_contents():
            field.select_option(label=choice)
            room = field.evaluate(
                """(own) => {
                    const words = document.createElement("span");
                    words.style.font = getComputedStyle(own).font;
                    words.textContent = own.selectedOptions[0].text;
                    document.body.append(words);
                    return own.clientWidth - words.getBoundingClientRect().width;
                }"""
            )
            assert room > 20, choice
    assert page.evaluate("document.documentElement.scrollWidth") == 1280


def test_heads_of_aggregates_say_over_what_they_are(visit):
    def said(page):
        return page.evaluate(
            """() => ["standings", "scores-finetune", "aggregates-probe"].map((id) => [
                document.getElementById(`${id}-title`).textContent,
                document.getElementById(id).closest(".scroll").ariaLabel,
                ...[...document.querySelectorAll(`#${id} th.over > span, #${id} [data-aggregate] > small`)]
                    .map((own) => own.textContent),
            ])"""
        )

    page = visit()
    whole = said(page)
    page.evaluate(f"location.hash = '#datasets={CHEST}&labels=0.1'")
    page.wait_for_function("document.querySelector('#filters output').textContent.includes('whole run')")
    standings, scores, of_probes = said(page)
    over = "Mean score over what is chosen"
    # One label set of one data set, and the four blocks of its probes.
    assert standings == [over, over, "1 column", "1 column", "1 column", "4 columns"]
    assert (scores[2], scores[-1]) == ("What is chosen", "1 column")
    assert of_probes[0] == "Linear probes of each block: over what is chosen"
    assert of_probes[-5:] == ["1 column"] * 4 + ["4 columns"]
    page.locator("#reset-view").click()
    assert [[text for text in own if text] for own in said(page)] == whole
