import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imssl.spreadsheet import original_table, original_text, safe_table, safe_text

DANGEROUS = ("=", "+", "-", "@", "\t", "\r")


@given(st.one_of(st.text(), st.text("'=+-@\t\rx")))
def test_every_text_comes_back_and_none_is_a_formula(text):
    cell = safe_text(text)
    assert not cell.startswith(DANGEROUS)
    assert original_text(cell) == text


@pytest.mark.parametrize("text", ["p1", "", "1-2", "'quoted'", "'", "a=b"])
def test_harmless_text_is_written_as_it_is(text):
    assert safe_text(text) == text


def test_a_table_comes_back_through_a_file():
    table = pd.DataFrame({"=id": ["=1+1", "'@x", "p", None], "score": [-1.5, 2.0, 3.0, 4.0]})
    written = safe_table(table)
    assert written.columns.tolist() == ["'=id", "score"]
    assert written["'=id"].tolist()[:3] == ["'=1+1", "''@x", "p"]
    text = written.to_csv(index=False)
    read = original_table(pd.read_csv(io.StringIO(text)))
    pd.testing.assert_frame_equal(read, table.astype({"=id": read["=id"].dtype}))
    assert table["=id"].tolist()[:3] == ["=1+1", "'@x", "p"], "the table itself stays as it is"
