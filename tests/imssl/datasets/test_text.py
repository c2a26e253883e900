import codecs
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imssl.datasets.text import decode_text, nearest, read_names, read_table, unknown_value
from imssl.errors import UserError

TABLE = "id,label\na,1\nb,2\n"
ENCODED = {
    "UTF-8": TABLE.encode(),
    "UTF-8 with a mark": codecs.BOM_UTF8 + TABLE.encode(),
    "UTF-16, little-endian": codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le"),
    "UTF-16, big-endian": codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
    "UTF-32": codecs.BOM_UTF32_LE + TABLE.encode("utf-32-le"),
    "Windows' ends of lines": TABLE.replace("\n", "\r\n").encode(),
    "old ends of lines": TABLE.replace("\n", "\r").encode(),
    "no last end": TABLE.rstrip().encode(),
    "empty lines": TABLE.replace("\n", "\n\n").encode(),
    "blanks around cells": b" id , label \n a , 1 \n b,2\n",
    "quotes": b'"id","label"\n"a","1"\n"b","2"\n',
    "columns without a name": b",id,label,\n0,a,1,\n1,b,2,\n",
}


@pytest.mark.parametrize("case", ENCODED)
def test_a_table_is_the_same_however_it_was_saved(case):
    table = read_table(ENCODED[case], "t.csv", ["id", "label"])
    assert table.to_dict("list") == {"id": ["a", "b"], "label": ["1", "2"]}


def test_the_index_is_the_line_of_the_file():
    table = read_table(b'id,note\n\na,"two\nlines"\nb,x\n', "t.csv", ["id"])
    assert table.index.tolist() == [3, 5]
    assert table["note"].tolist() == ["two\nlines", "x"]


WRONG = {
    "empty": (b"", "t.csv is not a CSV file: it is empty"),
    "a mark alone": (codecs.BOM_UTF8, "it is empty"),
    "a cell too many": (b"id,label\na,1\nb,2,3\n", "line 3: 3 cells"),
    "a cell too few": (b"id,label\na\nb,2\n", "line 2: 1 cells"),
    "commas at the ends of rows": (b"id,label\na,1,\nb,2,\n", "They end with ','"),
    "Latin-1": ("id,label\né,1\n".encode("latin-1"), "line 2: not text in UTF-8. Save the file as UTF-8"),
    "half of UTF-16": (codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le")[:-1], "not text in UTF-16-LE"),
    "UTF-16 without a mark": (TABLE.encode("utf-16-le"), "line 1: a zero byte"),
    "an open quote": (b'id,label\na,1\n"b,2\n', "the row that begins on line 3 cannot be read"),
    "another column": (
        b"id,Labels\na,1\n",
        "it has id, Labels. Did you mean Labels?",
    ),
    "a column twice": (b"id,label,label\na,1,2\n", "the column label more than once"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_is_named_by_file_and_line(case):
    content, words = WRONG[case]
    with pytest.raises(UserError) as raised:
        read_table(content, "t.csv", ["id", "label"])
    assert str(raised.value).startswith("t.csv")
    assert words in str(raised.value)


def test_of_many_wrong_rows_the_first_are_listed():
    with pytest.raises(UserError, match=r"line 11: 3 cells\n  and 490 more rows\n"):
        read_table(b"id,label\n" + b"a,1,\n" * 500, "t.csv", ["id"])


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0")).map(str.strip)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1))
def test_what_csv_writes_comes_back(rows):
    stream = io.StringIO()
    csv.writer(stream).writerows([["x", "y", "z"], *rows])
    table = read_table(stream.getvalue().encode(), "t.csv", ["x"])
    assert table.to_numpy().tolist() == [row for row in rows if any(row)]


def test_names_are_the_first_words_of_lines():
    listed = read_names(b"\xef\xbb\xbfa.png 0 1 0\r\n\r\n  b.png\r\n", "list.txt")
    assert (listed.names, listed.lines, listed.has_more) == (["a.png", "b.png"], [1, 3], True)
    assert not read_names(b"a.png\nb.png", "list.txt").has_more


def test_text_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"x\.txt, line 2: a zero byte"):
        decode_text(b"a\n\0", "x.txt")


@pytest.mark.parametrize(
    ("value", "known", "meant"),
    [
        ("Pleural Thickening", ["Pleural_Thickening", "Pneumothorax"], "Pleural_Thickening"),
        ("2.0", ["0", "1", "2"], "2"),
        ("nodule ", ["Nodule", "Mass"], "Nodule"),
        ("Cardiomegally", ["Cardiomegaly", "Edema"], "Cardiomegaly"),
        ("melanoma", ["0", "1"], None),
        ("", ["0", "1"], None),
    ],
)
def test_the_nearest_known_spelling(value, known, meant):
    assert nearest(value, known) == meant
    reason = unknown_value("label", value, known)
    assert repr(value) in reason
    assert repr(meant) in reason if meant else ", ".join(known) in reason
