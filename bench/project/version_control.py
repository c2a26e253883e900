"""Whether a project's folder is under Git, which DVC works with, or goes without."""

import shutil
import subprocess
from pathlib import Path

CORE = "[core]\n"


def under_git(folder: Path) -> bool:
    """Whether a folder is in a working tree of Git; one is begun where it is in none and Git is there."""
    if shutil.which("git") is None:
        return False
    inside = subprocess.run(
        ["git", "rev-parse", "--is-inside-work-tree"], cwd=folder, capture_output=True, check=False
    )
    if inside.returncode == 0:
        return True
    return (
        subprocess.run(["git", "init", "--quiet"], cwd=folder, capture_output=True, check=False).returncode
        == 0
    )


def without_scm(config: str) -> str:
    """DVC's configuration for a folder that is under no version control."""
    return config.replace(CORE, f"{CORE}    no_scm = true\n", 1)
