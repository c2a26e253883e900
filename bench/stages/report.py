"""Stage ``report``: statistics over all cells of the protocol, and the leaderboard."""

from bench.cells.store.held_cells import CHECKOUT_CLAIMS, claimed
from bench.protocol.protocol import Protocol


def run(protocol: Protocol) -> None:
    """Write everything below reports/."""
    from bench.report.leaderboard import write_reports

    with claimed("report", "the stage report", lambda holder: None, CHECKOUT_CLAIMS):
        print(f"leaderboard: {write_reports(protocol)}", flush=True)
