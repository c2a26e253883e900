"""Where a number comes from: code version, packages, machine, time."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from bench.cells.records import Provenance

# The libraries whose version can move a number.
PACKAGES = ("imssl-bench", "numpy", "pandas", "pillow", "scikit-learn", "scipy", "torch", "torchvision")


def provenance(started: datetime, seconds: float, device: str, command: str) -> Provenance:
    """Provenance of a cell that has just been computed."""
    commit = _git("rev-parse", "HEAD")
    # The code is what a commit must vouch for; parameters and data are in the cell's key.
    changes = _git("status", "--porcelain", "--", "imssl", "bench")
    return Provenance(
        started=started.astimezone(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        commit=commit or None,
        clean=None if commit is None else changes == "",
        device=device,
        python=platform.python_version(),
        packages=package_versions(),
        command=command,
    )


@cache
def package_versions() -> dict[str, str]:
    """Versions of the libraries that can move a number, by name."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
