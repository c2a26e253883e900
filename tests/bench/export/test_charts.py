"""Charts as files; the critical-difference diagrams against Nemenyi's formula."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from bench.export.chart_files import chart_figures, data_of, standalone, write_charts
from bench.export.critical_difference import CriticalDifference, critical_difference, drawing
from bench.report.layout import COLOURS


@pytest.fixture(scope="module")
def written(view, folder, tmp_path_factory):
    charts = tmp_path_factory.mktemp("charts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder[0])
        # The charts of one data set are of every kind; drawing takes most of the time.
        protocol = view.summary.protocol
        patch.setitem(vars(protocol), "datasets", dict(list(protocol.datasets.items())[:1]))
        return charts, write_charts(view, charts)


@pytest.mark.slow
def test_every_chart_is_three_files_of_one_name(written):
    charts, _ = written
    names = {kind: {path.stem for path in charts.glob(f"*.{kind}")} for kind in ("svg", "png", "csv")}
    assert names["svg"] == names["png"] == names["csv"]
    assert {"finetune-phantom-chest", "probe-phantom-chest", "loss-phantom-chest"} <= names["svg"]
    assert {path.suffix for path in charts.iterdir()} == {".svg", ".png", ".csv"}


def test_a_file_needs_no_page(written):
    charts, _ = written
    for file in charts.glob("*.svg"):
        text = file.read_text(encoding="utf-8")
        assert "var(--" not in text
        assert "<image" not in text
    assert COLOURS[0].lower() in (charts / "finetune-phantom-chest.svg").read_text().lower()
    assert "moco-barlow" in (charts / "finetune-phantom-chest.svg").read_text()  # the key to the methods
    assert Image.open(charts / "finetune-phantom-chest.png").width > 800


def test_the_data_are_what_is_drawn(written, means):
    table = pd.read_csv(written[0] / "finetune-phantom-chest.csv")
    rows = means[(means["evaluation"] == "finetune") & (means["dataset"] == "phantom-chest")]
    assert len(table) == len(rows) == 2 * 4 - 1
    drawn = sorted(table["mean"])
    assert drawn == pytest.approx(sorted(rows["mean"]), abs=5.1e-6)
    curve = pd.read_csv(written[0] / "loss-phantom-chest.csv")
    assert {"method", "epoch", "mean"} == set(curve.columns)


def test_one_data_set_has_no_critical_difference(written):
    assert len(written[1]) == 4
    assert all("2 data sets or more" in note for note in written[1])


def test_what_the_page_provides_is_put_in_its_place(view):
    figure = next(chart_figures(view))
    spec = standalone(figure)
    assert spec["data"] == figure.spec["data"]
    assert spec["title"] == figure.title
    assert "var(--" not in str({key: value for key, value in spec.items() if key != "data"})
    assert "says" in figure.spec["data"]["values"][0]
    assert "says" not in data_of(figure)


def test_ranks_and_p_values_are_those_of_the_formula(view, means):
    difference = critical_difference(view, "frozen")
    assert isinstance(difference, CriticalDifference)
    rows = means[(means["evaluation"] == "frozen") & (means["method"] != "random-init")]
    scores = rows.groupby(["dataset", "method"])["mean"].mean().unstack("method")
    ranks = scores.rank(axis=1, ascending=False).mean()
    assert difference.mean_ranks.to_dict() == pytest.approx(ranks.to_dict())
    count, blocks = scores.shape[1], scores.shape[0]
    assert (count, blocks) == (3, 2)
    for first in ranks.index:
        for second in ranks.index:
            if first != second:
                q = abs(ranks[first] - ranks[second]) / np.sqrt(count * (count + 1) / (6 * blocks))
                p = stats.studentized_range.sf(q * np.sqrt(2), count, np.inf)
                assert difference.p_values.loc[first, second] == pytest.approx(p, abs=1e-3)
    table = difference.table
    assert list(table.columns[:1]) == ["mean_rank"]
    assert table.index.name == "method"


def test_a_method_with_a_hole_is_left_out_by_name(view):
    difference = critical_difference(view, "finetune")
    assert isinstance(difference, CriticalDifference)
    assert set(difference.mean_ranks.index) == {"moco-mse", "moco-barlow"}
    assert difference.left_out == ("moco",)
    assert "for want of results: moco" in drawing(difference, "svg").decode()


def test_equal_ranks_give_equal_files(view):
    difference = critical_difference(view, "frozen")
    for kind in ("svg", "png"):
        assert drawing(difference, kind) == drawing(difference, kind)
    assert Image.open(io.BytesIO(drawing(difference, "png"))).width > 1000
