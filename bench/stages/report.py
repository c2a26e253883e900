"""Stage ``report``: statistics over all cells of the protocol, and the leaderboard."""

from bench.protocol.protocol import Protocol


def run(protocol: Protocol) -> None:
    """Write everything below reports/."""
    from bench.report.leaderboard import write_reports

    print(f"leaderboard: {write_reports(protocol)}", flush=True)
