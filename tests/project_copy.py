"""Copies of the project, and the tiny protocol without some of its rows, for tests to change."""

import re
import shutil
from pathlib import Path

import bench

ROOT = Path(bench.__file__).parents[1]
TINY = (ROOT / "tests" / "bench" / "tiny.yaml").read_text(encoding="utf-8")


def tiny_without(*rows: str) -> str:
    """params.yaml of the tiny protocol without some of its data sets and methods."""
    text = TINY
    for row in rows:
        text, count = re.subn(rf"^  {row}:.*\n(?:    .*\n)*", "", text, flags=re.MULTILINE)
        assert count == 1, row
    return text


def copy_packages(folder: Path, *without: str) -> None:
    """The suite's code, so that it can be changed.

    Args:
        folder: of the copy, which is there.
        without: patterns of names that are left out.
    """
    for name in ("bench", "imssl"):
        ignored = shutil.ignore_patterns("__pycache__", *without)
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)


def copy_pipeline(folder: Path) -> None:
    """What DVC and git read of the project, without a cache or a remote of this machine."""
    for name in ("dvc.yaml", ".gitignore", ".gitattributes", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
