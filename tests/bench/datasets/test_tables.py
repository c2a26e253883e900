"""Tables beside a user's images that cannot be used: each is named with what is wrong, and none is lost."""

import csv
import io
import json

import pytest
from openpyxl import Workbook

from tests.bench.datasets.test_adding import bench, picture, refused, write

IMAGES = {f"images/{n}.png": picture(n) for n in range(12)}
ROWS = [["file", "dx", "patient"], *([f"{n}.png", "ab"[n % 2], f"p{n // 2}"] for n in range(12))]


def text(rows, separator=","):
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator).writerows(rows)
    return stream.getvalue()


def workbook(sheets):
    book, stream = Workbook(), io.BytesIO()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(stream)
    return stream.getvalue()


NOTES = [["written by", "on"], ["someone", "Monday"]]
LATIN = text([*ROWS, ["12.png", "bösartig", "p6"]]).encode("latin-1")
BROKEN = {
    "Latin-1": ("labels.csv", LATIN, ["labels.csv, line 14: not text in UTF-8", "Save the file as UTF-8"]),
    "a trailing comma": (
        "labels.csv",
        text(ROWS).replace("p3", "p3,"),
        ["labels.csv: the header has 3 cells", "line 8: 4 cells", "They end with ','"],
    ),
    "a doubled column": (
        "labels.csv",
        text([["file", "dx", "dx"], *ROWS[1:]]),
        ["labels.csv has the column dx more than once"],
    ),
    "a broken metadata.csv": (
        "metadata.csv",
        text([["file_name", "label"], *(row[:2] for row in ROWS[1:])]).replace(",b", ",b,"),
        ["metadata.csv: the header has 2 cells"],
    ),
    "a broken metadata.jsonl": (
        "metadata.jsonl",
        "{'file_name': '0.png', 'label': 'a'}\n",
        ["metadata.jsonl, line 1: not JSON"],
    ),
    "an Excel file of two sheets": (
        "labels.xlsx",
        workbook({"notes": NOTES, "labels": ROWS}),
        ["labels.xlsx (columns written by, on; read was sheet notes of notes, labels: see --sheet)"],
    ),
    "an Excel file whose first sheet is empty": (
        "labels.xlsx",
        workbook({"empty": [], "labels": ROWS}),
        ["labels.xlsx: the sheet is empty", "read was sheet empty of empty, labels"],
    ),
    "an old Excel file": ("labels.xls", b"\xd0\xcf\x11\xe0", ["labels.xls is not a table", ".xlsx"]),
    "a table of something else": (
        "hospitals.csv",
        text(NOTES),
        ["hospitals.csv (columns written by, on)", "what the classes are is not clear"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_table_that_cannot_be_used_is_the_answer_or_a_warning(project, tmp_path, case):
    name, content, words = BROKEN[case]
    flat = write(tmp_path / "flat", IMAGES | {name: content})
    message = refused(flat)
    assert [word for word in words if word not in message] == []
    folders = {f"{'ab'[n % 2]}/{n}.png": picture(n) for n in range(12)}
    classes = write(tmp_path / "classes", folders | {name: content})
    result = bench("add-dataset", classes, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    warnings = " ".join(json.loads(result.output)["warnings"])
    assert [word for word in words if word not in warnings and "not clear" not in word] == []


def test_the_sheet_that_is_named_is_read(project, tmp_path):
    flat = write(tmp_path / "flat", IMAGES | {"labels.xlsx": BROKEN["an Excel file of two sheets"][1]})
    told = json.loads(bench("add-dataset", flat, "--sheet", "labels", "--dry-run", "--json").output)
    assert (told["row"]["sheet"], told["patients"], told["warnings"]) == ("labels", 6, [])
