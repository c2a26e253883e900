"""What DVC shows of a run: a row for each data set and method, and a page that needs no network."""

import json
import re

from tests.bench.small_run import CHEST, FUNDUS


def test_a_row_holds_the_ends_of_the_label_curve(run):
    short = json.loads((run / "reports" / "metrics.json").read_text())
    rows = {
        path.relative_to(run / "reports" / "metrics") for path in (run / "reports" / "metrics").rglob("*.*")
    }
    assert {row.as_posix() for row in rows} == {
        f"{dataset}/{method}.json" for dataset in (CHEST, FUNDUS) for method in ("moco", "random-init")
    }
    row = json.loads((run / "reports" / "metrics" / CHEST / "random-init.json").read_text())
    ends = [f"{evaluation} {share}" for evaluation in ("finetune", "frozen", "knn") for share in ("0.1", "1")]
    assert set(row) == {*ends, "probe block 4"}
    assert row.items() <= short[CHEST]["random-init"].items()
    # A hole is left out, as an empty cell.
    assert "finetune 0.1" not in json.loads((run / "reports" / "metrics" / CHEST / "moco.json").read_text())


def test_the_page_for_plots_asks_for_nothing(run):
    page = (run / "reports" / "plots.html").read_text(encoding="utf-8")
    assert page.count("{plot_divs}") == page.count("{refresh_tag}") == 1
    assert "{scripts}" not in page
    assert page.count("<script>") == page.count("</script>") == 1
    outside = re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)
    assert len(outside) < 300
    assert not re.search("src|href|http", outside)
    assert "vegaEmbed" in page
