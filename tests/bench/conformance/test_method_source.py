import codecs

import pytest

from bench.cells.fingerprints import reached_modules
from bench.conformance.method_source import read_source
from bench.protocol.registry import BUILT_IN, EXAMPLES, METHODS_FOLDER


def test_a_method_file_with_a_byte_order_mark_is_python(tmp_path):
    file = tmp_path / "mine.py"
    file.write_bytes(codecs.BOM_UTF8 + b'"""A method."""\n')
    assert read_source(file).text == '"""A method."""\n'


@pytest.mark.parametrize("file", [*BUILT_IN, *EXAMPLES])
def test_no_method_of_the_suite_reaches_what_reads_data_sets(file):
    """Nor does the contract, imssl.method, by which every method's file would be refused."""
    reached = reached_modules((METHODS_FOLDER / file).read_bytes(), METHODS_FOLDER / file)
    assert "imssl.method" in reached
    assert [name for name in reached if name.startswith(("imssl.datasets", "imssl.monitor", "bench"))] == []
