"""Stage ``code``: fingerprints of the source behind each stage and method; other stages depend on them."""

import shutil

from bench.cells import CELL_STAGES
from bench.code import method_fingerprint, stage_fingerprint
from bench.protocol import Protocol
from bench.results import RESULTS, write_json

FOLDER = RESULTS / "code"


def run(protocol: Protocol) -> None:
    """Write one file per stage and per method; DVC compares them by content."""
    fingerprints = {f"stage-{stage}": stage_fingerprint(stage) for stage in ("data", *CELL_STAGES, "report")}
    fingerprints |= {f"method-{method}": method_fingerprint(method, protocol) for method in protocol.methods}
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, fingerprint in fingerprints.items():
        write_json(FOLDER / f"{name}.json", fingerprint)
