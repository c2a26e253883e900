"""Pythons that are too old for the suite, where pyenv has installed them."""

import os
from pathlib import Path


def older_python(version: str) -> Path | None:
    """The interpreter of a version such as 3.8; None where there is none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return next(iter(sorted(root.glob(f"versions/{version}.*/bin/python"))), None)
