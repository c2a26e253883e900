"""Whether all cells were made with the same versions of the libraries that matter."""

from collections.abc import Sequence

from bench.cells.records import CellRecord, mixed_versions
from bench.trust.verify.check import Check


def check_versions(records: Sequence[CellRecord], strict: bool) -> Check:
    """Libraries whose version can move a number, each in one version or in several.

    Args:
        records: of all cells.
        strict: whether several versions of a library are a disagreement, or a note only.
    """
    check, mixed = Check("versions of the libraries"), mixed_versions(records)
    check.compared = len(records)
    for package, versions in mixed.items():
        counts = ", ".join(f"{version} ({count} cells)" for version, count in versions.items())
        if strict:
            check.compare(f"versions of {package}", "one", counts)
        else:
            check.notes.append(
                f"the tables mix versions of {package}: {counts}; --strict-versions refuses that"
            )
    return check
