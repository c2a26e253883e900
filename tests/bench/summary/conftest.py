"""Fixtures that make up columns, cards and results of known truth."""

from tests.bench.made_up_results import (  # noqa: F401 (pytest finds fixtures by their name here)
    make_column,
    plain_column_fixture,
    protocol_of_fixture,
    results_of_fixture,
    summary_of_fixture,
)
