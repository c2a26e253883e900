"""results.json: complete, validated, readable again; the tables for dvc plots."""

import json
from pathlib import Path

import pandas as pd
import pytest
import vl_convert
from pydantic import ValidationError

import bench
from bench.analysis.analyse import analyse
from bench.analysis.document import (
    ResultsDocument,
    read_document,
    results_document,
    write_document,
)
from bench.analysis.row_models import Count, Number, RowModel, records
from bench.protocol.cell import Cell
from bench.report.charts.plot_tables import plot_tables
from bench.summary.tidy import COLUMNS
from imssl.errors import UserError
from imssl.settings.labels import LabelSet

FIXTURES = {version: Path(__file__).parent / f"results_version_{version}.json" for version in (1, 2)}
TEMPLATES = Path(bench.__file__).parents[1] / ".dvc" / "plots"
TABLES = (
    "ranks", "differences", "aggregates", "label_efficiency", "claims", "claim_effects", "ledger",
)  # fmt: skip
HOLE = Cell("finetune", "two", "moco", 1, LabelSet(0.01))


@pytest.fixture
def summary(protocol_of, results_of, summary_of):
    protocol = protocol_of(methods=["random-init", "moco", "moco-mse"], seeds=[0, 1, 2])
    return summary_of(protocol, results_of(protocol, lambda cell, block: 1, {HOLE: "failed"}))


def test_the_document_holds_every_table_and_survives_a_round_trip(summary, tmp_path):
    analysis = analyse(summary)
    document = results_document(summary, analysis)
    write_document(tmp_path / "results.json", document)
    assert read_document(tmp_path / "results.json") == document
    content = json.loads((tmp_path / "results.json").read_text())
    for name in TABLES:
        table = getattr(analysis, name)
        assert [row.keys() for row in content[name]] == [set(table.columns)] * len(table) != []
    rank = next(row for row in content["ranks"] if row["method"] == "moco-mse")
    expected = analysis.ranks[analysis.ranks["method"] == "moco-mse"].iloc[0]
    assert (rank["mean"], rank["rank"], rank["block"]) == (expected["mean"], expected["rank"], None)
    assert len(content["measurements"]) == len(summary.measured)
    failed = [cell for cell in content["cells"] if cell["status"] != "done"]
    assert [(cell["stage"], cell["seed"], cell["reason"]) for cell in failed] == [("finetune", 1, "a reason")]
    assert content["protocol"]["seeds"] == [0, 1, 2]


def test_equal_results_give_equal_bytes(summary, tmp_path):
    for name in ("one.json", "other.json"):
        write_document(tmp_path / name, results_document(summary, analyse(summary)))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()


def test_what_does_not_fit_is_not_written(summary):
    analysis = analyse(summary)
    analysis.ranks["method"] = 3
    with pytest.raises(ValidationError):
        results_document(summary, analysis)
    document = results_document(summary, analyse(summary)).model_dump(by_alias=True)
    with pytest.raises(ValidationError):
        ResultsDocument.model_validate(document | {"unknown": 2})


def test_version_1_can_still_be_read():
    document = read_document(FIXTURES[1])
    assert document.schema_version == 4
    assert document.ranks[0].method == "random-init"
    assert not document.ranks[0].reference
    assert document.claims[0].verdict == "none"
    assert document.claims[0].compared_with == "moco"
    assert document.claims[0].detectable is None
    assert document.claim_effects == []
    assert document.cells[0].status == "done"


def test_version_2_can_still_be_read():
    document = read_document(FIXTURES[2])
    assert document.ranks[0].reference
    assert document.differences[1].p_corrected == pytest.approx(0.893, abs=0.001)
    assert document.claims[0].family == 6
    assert document.claim_effects[0].in_metric is not None
    assert document.ranks[0].labels_per_class is None
    assert document.subgroups == document.subgroup_gaps == []


def test_the_type_of_a_column_stands_beside_its_meaning():
    """A new column has the type that it is given, in the frame and in the schema."""

    class Row(RowModel):
        name: str
        count: Count
        mean: Number
        good: bool

    table = Row.table([{"name": "a", "count": 3, "good": True}, {"name": "b", "mean": 0.5, "good": False}])
    assert table.dtypes.astype(str).tolist()[1:] == ["Int64", "float64", "bool"]
    assert records(table) == [
        {"name": "a", "count": 3, "mean": None, "good": True},
        {"name": "b", "count": None, "mean": 0.5, "good": False},
    ]
    assert list(Row.table([]).columns) == Row.columns()
    with pytest.raises(KeyError, match="has no column unknown"):
        Row.table([{"unknown": 1}])


@pytest.mark.parametrize("text", ['{"schema_version": 99}', "[]", '{"schema_version": 1}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match="schema version"):
        read_document(tmp_path / "results.json")


def test_every_column_is_described_in_the_schema():
    definitions = ResultsDocument.model_json_schema()["$defs"]
    for name in [name for name in definitions if name.endswith("Row")]:
        for column, meaning in definitions[name]["properties"].items():
            assert meaning["description"], (name, column)
    assert definitions["MeasurementRow"]["properties"]["block"]["description"] == COLUMNS["block"]


def test_records_have_none_for_what_is_missing():
    table = pd.DataFrame({"x": [1.5, None], "block": pd.array([2, None], dtype="Int64"), "ok": [True, False]})
    assert records(table) == [{"x": 1.5, "block": 2, "ok": True}, {"x": None, "block": None, "ok": False}]


def test_plot_tables_leave_holes_out(summary):
    tables = plot_tables(summary)
    assert len(tables["probing_profile"]) == 2 * 3 * 4
    fine = tables["label_efficiency"].set_index(["dataset", "method", "fraction"])["metric"]
    assert len(fine) == 2 * 3 * 2 - 1
    assert ("two", "moco", 0.01) not in fine.index
    column = next(iter(summary.columns.values()))
    assert fine["one", "random-init", 0.01] == pytest.approx(column.values[0].mean())


@pytest.mark.skipif(not TEMPLATES.is_dir(), reason="needs the project's folder, not only the package")
@pytest.mark.parametrize("name", ["by_data_set", "by_data_set_log"])
def test_plot_templates_are_charts(name):
    """DVC puts data and names in the place of the anchors; what comes out must draw."""
    rows = [{"dataset": d, "method": m, "x": x, "y": x / 2, "rev": "workspace"}
            for d in "ab" for m in ("moco", "moco-mse") for x in (0.1, 1.0)]  # fmt: skip
    text = (TEMPLATES / f"{name}.json").read_text().replace('"<DVC_METRIC_DATA>"', json.dumps(rows))
    for anchor, value in {
        "TITLE": "A title",
        "X": "x",
        "Y": "y",
        "X_LABEL": "share",
        "Y_LABEL": "AUROC",
    }.items():
        text = text.replace(f"<DVC_METRIC_{anchor}>", value)
    assert "<DVC" not in text
    picture = vl_convert.vegalite_to_svg(json.loads(text))
    for shown in ("A title", "moco-mse", "share", "AUROC"):
        assert shown in picture
