"""Thousands of levels are refused in a moment, and no real params.yaml comes near the bound."""

import time
from pathlib import Path

import pytest

import bench
from bench.protocol.params_file import MOST_BRACKETS, _nesting, parse_params
from imssl.errors import UserError

LEVELS = 5000
DEEP = {
    "lists in brackets": "a: " + "[" * LEVELS + "]" * LEVELS,
    "mappings in braces": "a: " + "{b: " * LEVELS + "}" * LEVELS,
    "brackets left open": "a: " + "[" * LEVELS,
    "indented keys": "\n".join(" " * level + "a:" for level in range(LEVELS)),
    "hyphens in a line": "a:\n  " + "- " * LEVELS + "x",
    "indented hyphens": "\n".join("  " * level + "-" for level in range(LEVELS)),
    "hyphens far in": "\n".join("  " * level + "- a:" for level in range(LEVELS)),
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_thousands_of_levels_are_refused_quickly(text):
    started = time.process_time()
    with pytest.raises(UserError, match="more than 20 levels deep"):
        parse_params(text)
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "file", [*(Path(bench.__file__).parent / "protocol" / "profiles").glob("*.yaml")], ids=lambda f: f.stem
)
def test_real_files_are_far_below_the_bound(file):
    assert 2 <= _nesting(file.read_text(encoding="utf-8")) < MOST_BRACKETS / 10


def test_many_siblings_are_not_deep():
    text = "".join(f"a{i}:\n  - [1, 2]\n  - b: {{c: 1}}\n" for i in range(1000))
    assert _nesting(text) < 10
    assert len(parse_params(text)) == 1000
