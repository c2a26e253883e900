from types import SimpleNamespace

from bench.report.pages.background import data_card
from imssl.datasets.skipped import by_reason
from tests.bench.small_run import CHEST, card


def test_of_many_files_left_out_the_page_holds_counts_and_the_first_names():
    skipped = by_reason(
        [(f"images/{i:08d}.png", f"duplicate id: {i} has the same name") for i in range(111_000)]
        + [("a.png", "the file is empty")]
    )
    stored = card(CHEST).model_copy(
        update={"skipped": skipped, "unused": by_reason([("readme", "is hidden")])}
    )
    shown = data_card("chest", SimpleNamespace(cards={"chest": stored}))
    assert dict(shown.facts)["Left out"] == "111,001 files"
    assert shown.skipped == [
        ("111,000 × duplicate id", ", ".join(f"images/{i:08d}.png" for i in range(5)) + ", ..."),
        ("1 × the file is empty", "a.png"),
    ]
    assert shown.unused == [("1 × is hidden", "readme")]
